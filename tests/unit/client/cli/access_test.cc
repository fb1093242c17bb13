#include "client/cli/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kElsewhere[] = "encoder.example:50051";
constexpr char kHere[] = "127.0.0.1:1";
constexpr char kPem[] = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";

class AccessTest : public testing::Test {
 protected:
  std::string File(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  static std::string Problem(const std::string& server, const AccessArguments& access) {
    const auto client = Connect(server, access);
    EXPECT_TRUE(absl::IsInvalidArgument(client.status())) << client.status();
    return std::string(client.status().message());
  }

  TempFolder folder_;
};

TEST_F(AccessTest, PlaintextWithoutAKeyGoesAnywhere) {
  EXPECT_TRUE(Connect(kElsewhere, {}).ok());
  EXPECT_TRUE(Connect(kHere, {}).ok());
}

TEST_F(AccessTest, AKeyCrossesANetworkInPlaintextOnlyIfToldTo) {
  EXPECT_THAT(Problem(kElsewhere, {.api_key = "s3cret"}),
              AllOf(HasSubstr("--plaintext-key"), Not(HasSubstr("s3cret"))));
  EXPECT_TRUE(Connect(kElsewhere, {.api_key = "s3cret", .plaintext_key = true}).ok());
  EXPECT_TRUE(Connect(kElsewhere, {.tls = true, .api_key = "s3cret"}).ok());
  EXPECT_TRUE(Connect(kHere, {.api_key = "s3cret"}).ok());
}

TEST_F(AccessTest, AKeyFileIsItsFirstLine) {
  EXPECT_TRUE(Connect(kHere, {.api_key_file = File("good", " key \nmore text\n")}).ok());
  EXPECT_THAT(Problem(kHere, {.api_key_file = File("empty", "")}), HasSubstr("is empty"));
  EXPECT_THAT(Problem(kHere, {.api_key_file = File("blank", "\nkey\n")}),
              HasSubstr("--api-key-file"));
  EXPECT_THAT(Problem(kHere, {.api_key_file = File("words", "s3cret two")}),
              AllOf(HasSubstr("--api-key-file"), Not(HasSubstr("s3cret"))));
  EXPECT_THAT(Problem(kHere, {.api_key_file = folder_ / "missing"}), HasSubstr("cannot be read"));
  EXPECT_THAT(Problem(kHere, {.api_key = "two words"}), HasSubstr("LONGWAVE_API_KEY"));
}

TEST_F(AccessTest, FilesOfTlsAreCheckedBeforeAnythingIsSent) {
  const std::string pem = File("pem", kPem);
  EXPECT_THAT(Problem(kHere, {.tls_ca = folder_ / "missing"}), HasSubstr("--tls-ca"));
  EXPECT_THAT(Problem(kHere, {.tls_ca = folder_.path()}), HasSubstr("--tls-ca"));
  EXPECT_THAT(Problem(kHere, {.tls_ca = File("text", "no PEM")}), HasSubstr("not a PEM file"));
  EXPECT_THAT(Problem(kHere, {.tls_ca = File("large", std::string((1 << 20) + 1, 'x'))}),
              HasSubstr("larger than 1 MiB"));
  EXPECT_THAT(Problem(kHere, {.tls_certificate = pem}), HasSubstr("belong together"));
  EXPECT_THAT(Problem(kHere, {.tls_key = pem}), HasSubstr("belong together"));
  EXPECT_THAT(Problem(kHere, {.tls_server_name = "encoder"}), HasSubstr("--tls-server-name"));
  EXPECT_TRUE(Connect(kElsewhere, {.tls_ca = pem, .tls_certificate = pem, .tls_key = pem}).ok());
}

}  // namespace
}  // namespace longwave::cli
