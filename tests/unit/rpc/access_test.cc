// Who may connect and who may call: keys and TLS through the port.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/unit/rpc/rpc_fixture.h"
#include "tests/unit/security/test_certificates.h"
#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// SHA-256 of "alpha" and "beta".
constexpr char kAlphaAndBeta[] = R"({"tenants": [
    {"name": "a", "share": 3, "key_sha256":
      ["8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"]},
    {"name": "b", "key_sha256":
      ["f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"]}]})";
constexpr char kBetaAlone[] = R"({"tenants": [{"name": "b", "key_sha256":
      ["f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"]}]})";

class AccessTest : public RpcFixture {
 protected:
  ~AccessTest() override { server_.reset(); }  // before what it asks

  void StartWith(PortAccess access) {
    auto server = RpcServer::Create({.address = "127.0.0.1:0"}, {}, encoder_.Info().max_tokens,
                                    &clock_, &metrics_, nullptr, access);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    Serve();
    channel_ = NewChannel();
    stub_ = v1::EncoderService::NewStub(channel_);
  }
  void StartWithKeys() {
    auto authenticator = Authenticator::Create(folder_.Write("tenants", kAlphaAndBeta), nullptr);
    ASSERT_TRUE(authenticator.ok()) << authenticator.status();
    authenticator_ = *std::move(authenticator);
    StartWith({.authenticator = authenticator_.get()});
  }
  void StartWithTls(const TestPair& pair, const std::string& client_ca = "") {
    auto tls =
        TlsStore::Create({.certificate = folder_.Write("c", pair.certificate),
                          .key = folder_.Write("k", pair.key),
                          .client_ca = client_ca.empty() ? "" : folder_.Write("ca", client_ca)},
                         nullptr);
    ASSERT_TRUE(tls.ok()) << tls.status();
    tls_ = *std::move(tls);
    StartWith({.tls = tls_.get()});
  }

  static std::shared_ptr<grpc::ClientContext> WithKey(const std::string& key) {
    auto context = std::make_shared<grpc::ClientContext>();
    if (!key.empty()) context->AddMetadata("authorization", "Bearer " + key);
    return context;
  }
  // The code of a GetModel over a connection of its own.
  grpc::StatusCode Connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto stub = v1::EncoderService::NewStub(grpc::CreateCustomChannel(
        absl::StrCat("127.0.0.1:", server_->port()), credentials, arguments));
    grpc::ClientContext context;
    v1::GetModelResponse response;
    return stub->GetModel(&context, {}, &response).error_code();
  }

  const TestFolder folder_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<TlsStore> tls_;
};

TEST_F(AccessTest, EveryMethodAsksForAKey) {
  StartWithKeys();
  for (const char* method :
       {"Encode", "EncodeStream", "EstimateEncode", "GetModel", "ListModels"}) {
    const grpc::Status status = CallRaw(method, "bytes that need not even parse");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    EXPECT_EQ(Info(status).reason(), "UNAUTHENTICATED") << method;
  }
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(AccessTest, AbsentAndWrongKeysAreAnsweredAlike) {
  StartWithKeys();
  const auto request = MakeRequest({{1}});
  const grpc::Status absent = CallEncode(request).get().status;
  const grpc::Status wrong = CallEncode(request, WithKey("guess-1")).get().status;
  EXPECT_EQ(absent.error_message(), wrong.error_message());
  EXPECT_EQ(absent.error_details(), wrong.error_details());
  EXPECT_THAT(wrong.error_message(), Not(HasSubstr("guess-1")));
}

TEST_F(AccessTest, AKeyDecidesOnWhoseBehalfIsComputed) {
  StartWithKeys();
  auto request = MakeRequest({{1}});
  request.set_tenant("a");
  auto call = CallEncode(request, WithKey("alpha"));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  ASSERT_NE(submitted.terms.tenant, nullptr);
  EXPECT_EQ(submitted.terms.tenant->name, "a");
  EXPECT_EQ(submitted.terms.tenant->share, 3);
  ComputeAll(submitted);
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(AccessTest, AClaimToBeAnotherTenantIsDenied) {
  StartWithKeys();
  auto request = MakeRequest({{1}});
  request.set_tenant("b");
  const grpc::Status status = CallEncode(request, WithKey("alpha")).get().status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Info(status).metadata().at("field"), "tenant");
}

TEST_F(AccessTest, WithoutKeysTheFieldIsARemark) {
  Start();
  auto request = MakeRequest({{1}});
  request.set_tenant("whoever");
  auto call = CallEncode(request);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  EXPECT_EQ(submitted.terms.tenant, nullptr);
  ComputeAll(submitted);
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(AccessTest, AWithdrawnKeyOpensNothingMoreOnItsStream) {
  StartWithKeys();
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer alpha");
  const auto stream = stub_->EncodeStream(&context);
  v1::EncodeStreamRequest open;
  open.set_tag(1);
  open.mutable_open()->mutable_request()->mutable_tokens()->add_lengths(1);
  open.mutable_open()->mutable_request()->mutable_tokens()->set_id_width(v1::ID_WIDTH_U8);
  v1::EncodeStreamResponse response;
  ASSERT_TRUE(stream->Write(open));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_accepted()) << response.ShortDebugString();

  open.set_tag(2);
  open.mutable_open()->mutable_request()->set_tenant("b");
  ASSERT_TRUE(stream->Write(open));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.failed().reason(), "PERMISSION_DENIED");

  folder_.Write("tenants", kBetaAlone);
  authenticator_->reloader().Look();
  open.set_tag(3);
  open.mutable_open()->mutable_request()->clear_tenant();
  ASSERT_TRUE(stream->Write(open));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.tag(), 3u);
  EXPECT_EQ(response.failed().reason(), "UNAUTHENTICATED");
  context.TryCancel();
}

TEST_F(AccessTest, ManyTraceparentsAreNone) {
  constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
  std::FILE* const file = std::tmpfile();
  Logger log({.level = LogLevel::kDebug, .fd = fileno(file)});
  auto server = RpcServer::Create({.address = "127.0.0.1:0"}, {}, 1024, &clock_, &metrics_, &log);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  channel_ = NewChannel();
  stub_ = v1::EncoderService::NewStub(channel_);
  for (const int count : {1, 10}) {
    grpc::ClientContext context;
    for (int i = 0; i < count; ++i) {
      context.AddMetadata("traceparent", absl::StrCat("00-", kTrace, "-b7ad6b7169203331-01"));
    }
    v1::GetModelResponse response;
    stub_->GetModel(&context, {}, &response);
  }
  server_.reset();
  std::rewind(file);
  std::string text(1 << 16, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file));
  std::fclose(file);
  const size_t found = text.find(kTrace);
  ASSERT_NE(found, std::string::npos) << text;
  EXPECT_EQ(text.find(kTrace, found + 1), std::string::npos) << text;
}

TEST_F(AccessTest, HealthStaysOpen) {
  StartWithKeys();
  auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(health->Check(&context, {}, &response).ok());
}

TEST_F(AccessTest, ATlsPortSpeaksNothingElse) {
  const TestPair pair = MakeValidPair();
  StartWithTls(pair);
  EXPECT_EQ(Connect(grpc::SslCredentials({.pem_root_certs = pair.certificate})),
            grpc::StatusCode::OK);
  EXPECT_EQ(Connect(grpc::InsecureChannelCredentials()), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Connect(grpc::SslCredentials({.pem_root_certs = MakeValidPair().certificate})),
            grpc::StatusCode::UNAVAILABLE)
      << "a root that did not sign it";
}

TEST_F(AccessTest, NewConnectionsGetTheNewCertificate) {
  const TestPair first = MakeValidPair();
  const TestPair second = MakeValidPair();
  StartWithTls(first);
  const auto trusts_first = grpc::SslCredentials({.pem_root_certs = first.certificate});
  const auto trusts_second = grpc::SslCredentials({.pem_root_certs = second.certificate});
  EXPECT_EQ(Connect(trusts_first), grpc::StatusCode::OK);
  folder_.Write("c", second.certificate);
  tls_->reloader().Look();  // half a pair
  EXPECT_EQ(Connect(trusts_first), grpc::StatusCode::OK);
  folder_.Write("k", second.key);
  tls_->reloader().Look();
  EXPECT_EQ(Connect(trusts_second), grpc::StatusCode::OK);
  EXPECT_EQ(Connect(trusts_first), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AccessTest, AClientCaLetsItsClientsInAndNobodyElse) {
  const TestPair root = MakeValidPair();
  const TestPair client = MakeValidPair(&root);
  const TestPair stranger = MakeValidPair();
  StartWithTls(root, root.certificate);
  const auto with = [&](const TestPair& pair) {
    return grpc::SslCredentials({.pem_root_certs = root.certificate,
                                 .pem_private_key = pair.key,
                                 .pem_cert_chain = pair.certificate});
  };
  EXPECT_EQ(Connect(with(client)), grpc::StatusCode::OK);
  EXPECT_EQ(Connect(with(stranger)), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Connect(grpc::SslCredentials({.pem_root_certs = root.certificate})),
            grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace longwave
