#include "server/rpc/request_decoder.h"

#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <string>

#include "model/base/error.h"
#include "server/rpc/message_io.h"

namespace longwave {
namespace {

grpc::ByteBuffer Bytes(const std::string& text) {
  const grpc::Slice slice(text);
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status Parse(const std::string& text, v1::EncodeRequest* message) {
  grpc::ByteBuffer bytes = Bytes(text);
  absl::Status status = ParseMessage(&bytes, message);
  EXPECT_EQ(bytes.Length(), 0u) << "the bytes are let go";
  return status;
}

TEST(ParseMessageTest, ReadsWhatSerializeMessageWrites) {
  v1::EncodeRequest request;
  request.set_model("m");
  request.mutable_tokens()->set_ids(std::string(100'000, '\7'));
  const grpc::Slice slice = SerializeMessage(request);
  // In many pieces, as large messages arrive.
  std::vector<grpc::Slice> pieces;
  for (size_t at = 0; at < slice.size(); at += 1000) {
    pieces.emplace_back(slice.begin() + at, std::min<size_t>(1000, slice.size() - at));
  }
  grpc::ByteBuffer bytes(pieces.data(), pieces.size());
  v1::EncodeRequest parsed;
  ASSERT_TRUE(ParseMessage(&bytes, &parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), request.SerializeAsString());
}

TEST(ParseMessageTest, EmptyBytesAreAnEmptyMessage) {
  v1::EncodeRequest message;
  EXPECT_TRUE(Parse("", &message).ok());
}

TEST(ParseMessageTest, WhatIsNoMessageIsMalformed) {
  v1::EncodeRequest valid;
  valid.set_model("model");
  valid.mutable_tokens()->add_lengths(3);
  const std::string bytes = valid.SerializeAsString();
  v1::EncodeRequest message;
  const std::string deep = [] {  // groups of unknown fields, nested beyond protobuf's limit
    std::string open;
    for (int i = 0; i < 200; ++i) open += "\xa3\x06";
    return open;
  }();
  for (const std::string& broken :
       {bytes.substr(0, bytes.size() - 1), std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        std::string("\x0a\x02\xc3\x28"),  // a string that is not UTF-8
        std::string("\x0a\x7fshort"), deep}) {
    const absl::Status status = Parse(broken, &message);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kMalformedMessage);
  }
}

TEST(ParseMessageTest, UnknownFieldsAreIgnored) {
  v1::EncodeRequest message;
  // Field 1000, varint 1; then model = "m".
  ASSERT_TRUE(Parse("\xc0\x3e\x01\x0a\x01m", &message).ok());
  EXPECT_EQ(message.model(), "m");
}

TEST(ParseMessageTest, OddEncodingsEqualTheCanonicalOne) {
  v1::EncodeRequest canonical;
  canonical.mutable_tokens()->add_ids_list(1);
  canonical.mutable_tokens()->add_ids_list(2);
  canonical.mutable_tokens()->add_ids_list(3);
  v1::EncodeRequest odd;
  // tokens twice (merged); ids_list packed with a varint longer than needed, then unpacked.
  ASSERT_TRUE(
      Parse(std::string("\x22\x05\x22\x03\x01\x82\x00", 7) + "\x22\x02\x20\x03", &odd).ok());
  EXPECT_EQ(odd.SerializeAsString(), canonical.SerializeAsString());
}

TEST(RequestDecoderTest, CarriesEveryField) {
  v1::EncodeRequest request;
  request.set_model("m");
  request.set_model_version("2");
  request.set_request_id("id");
  request.mutable_tokens()->set_ids("\1\2");
  request.mutable_tokens()->set_id_width(v1::ID_WIDTH_U16);
  request.mutable_tokens()->add_lengths(1);
  request.mutable_tokens()->add_ids_list(7);
  request.mutable_tokens()->set_positions("p");
  request.mutable_tokens()->mutable_frames();
  request.mutable_tokens()->mutable_relations();
  v1::OutputSpec* output = request.mutable_output();
  output->set_pooling(v1::POOLING_SPANS);
  v1::Span* span = output->add_spans();
  span->set_sequence(1);
  span->set_begin(2);
  span->set_end(3);
  output->mutable_rows()->set_stride(4);
  *output->mutable_rows()->add_ranges() = *span;
  output->mutable_rows()->set_indices(std::string("\5\0\0\0\6\0\0\0\7", 9));
  output->add_layers(-1);
  output->set_dtype(v1::DATA_TYPE_INT8);
  output->set_normalize(false);
  output->set_truncate_dim(64);
  output->set_allow_undeclared_dim(true);
  request.mutable_truncation()->set_side(v1::TRUNCATION_SIDE_START);
  request.mutable_truncation()->set_max_tokens(10);
  request.set_priority(v1::PRIORITY_BATCH);
  request.set_tenant("t");
  request.set_deterministic(true);
  request.set_route_override(v1::ROUTE_FFT);
  request.set_tokenizer_fingerprint("f");

  const EncodeRequestData data = ToRequestData(request);
  EXPECT_EQ(data.model, "m");
  EXPECT_EQ(data.model_version, "2");
  EXPECT_EQ(data.request_id, "id");
  EXPECT_EQ(data.ids_bytes, "\1\2");
  EXPECT_EQ(data.ids_bytes.data(), request.tokens().ids().data()) << "not copied";
  EXPECT_EQ(data.id_width, v1::ID_WIDTH_U16);
  EXPECT_EQ(data.lengths, std::vector<uint32_t>{1});
  EXPECT_EQ(data.ids_list, std::vector<uint32_t>{7});
  EXPECT_TRUE(data.has_positions && data.has_frames && data.has_relations);
  EXPECT_EQ(data.pooling, v1::POOLING_SPANS);
  ASSERT_EQ(data.spans.size(), 1u);
  EXPECT_EQ(data.spans[0].sequence, 1u);
  EXPECT_EQ(data.spans[0].begin, 2u);
  EXPECT_EQ(data.spans[0].end, 3u);
  ASSERT_TRUE(data.rows.has_value());
  EXPECT_EQ(data.rows->stride, 4u);
  EXPECT_EQ(data.rows->ranges.size(), 1u);
  EXPECT_EQ(data.rows->indices, (std::vector<uint32_t>{5, 6}));
  EXPECT_EQ(data.rows_indices_bytes, 9u) << "so that the odd byte can be refused";
  EXPECT_EQ(data.layers, std::vector<int32_t>{-1});
  EXPECT_EQ(data.dtype, v1::DATA_TYPE_INT8);
  EXPECT_EQ(data.normalize, std::optional<bool>(false));
  EXPECT_EQ(data.truncate_dim, 64u);
  EXPECT_TRUE(data.allow_undeclared_dim);
  EXPECT_EQ(data.truncation_side, v1::TRUNCATION_SIDE_START);
  EXPECT_EQ(data.truncation_max_tokens, 10u);
  EXPECT_EQ(data.priority, v1::PRIORITY_BATCH);
  EXPECT_EQ(data.tenant, "t");
  EXPECT_TRUE(data.deterministic);
  EXPECT_EQ(data.route_override, v1::ROUTE_FFT);
  EXPECT_EQ(data.tokenizer_fingerprint, "f");
}

TEST(RequestDecoderTest, UnsetIsToldApartFromFalse) {
  EXPECT_EQ(ToRequestData(v1::EncodeRequest()).normalize, std::nullopt);
  EXPECT_FALSE(ToRequestData(v1::EncodeRequest()).rows.has_value());
}

TEST(RequestDecoderTest, EnumValuesOfNewerClientsPassThrough) {
  v1::EncodeRequest request;
  request.mutable_output()->set_pooling(static_cast<v1::Pooling>(99));
  EXPECT_EQ(ToRequestData(request).pooling, 99);
}

}  // namespace
}  // namespace longwave
