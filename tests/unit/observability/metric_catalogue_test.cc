#include "server/observability/metric_catalogue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "server/observability/service_metrics.h"

namespace longwave::catalogue {
namespace {

TEST(MetricCatalogueTest, LengthClassesMeetAtTheirEdges) {
  struct Case {
    int64_t tokens;
    std::string expected;
  };
  for (const Case& c : {Case{-1, "le1k"}, Case{0, "le1k"}, Case{1024, "le1k"}, Case{1025, "le4k"},
                        Case{4096, "le4k"}, Case{4097, "le16k"}, Case{16384, "le16k"},
                        Case{16385, "le64k"}, Case{65537, "le256k"}, Case{262144, "le256k"},
                        Case{262145, "gt256k"}, Case{int64_t{1} << 40, "gt256k"}}) {
    EXPECT_EQ(kLengthClasses[LengthClass(c.tokens)], c.expected) << c.tokens;
  }
}

TEST(MetricCatalogueTest, EveryReasonsCodeHasItsOwnLabel) {
  for (const ErrorReason reason : AllErrorReasons()) {
    const absl::StatusCode code = ErrorReasonCode(reason);
    const auto codes = ServedCodes();
    EXPECT_NE(std::find(codes.begin(), codes.end(), code), codes.end()) << ErrorReasonName(reason);
    EXPECT_NE(std::string(CodeName(code)), "UNKNOWN");
    for (const bool admitted : {false, true}) {
      EXPECT_NE(ClassOf(reason, admitted), CodeClass::kOk);
      const bool ours = ClassOf(reason, admitted) == CodeClass::kServer;
      if (reason != ErrorReason::kDeadlineExpired) {
        EXPECT_EQ(ours, ClassOf(reason, !admitted) == CodeClass::kServer)
            << ErrorReasonName(reason);
      } else {
        EXPECT_EQ(ours, admitted);
      }
    }
  }
  std::set<std::string> names;
  for (const absl::StatusCode code : ServedCodes()) names.insert(CodeName(code));
  EXPECT_EQ(names.size(), ServedCodes().size());
}

TEST(MetricCatalogueTest, NoReasonIsBothInvalidAndShed) {
  for (const ErrorReason reason : AllErrorReasons()) {
    EXPECT_FALSE(IsInvalid(reason) && IsShed(reason)) << ErrorReasonName(reason);
  }
}

template <size_t n>
void ExpectRising(const std::array<double, n>& edges) {
  EXPECT_TRUE(std::is_sorted(edges.begin(), edges.end()));
  EXPECT_EQ(std::adjacent_find(edges.begin(), edges.end()), edges.end());
}

TEST(MetricCatalogueTest, EdgesRiseAndHoldTheLatencyObjectives) {
  ExpectRising(kDurationEdges);
  ExpectRising(kPartEdges);
  ExpectRising(kStageEdges);
  ExpectRising(kFirstChunkEdges);
  ExpectRising(kMegatokenEdges);
  ExpectRising(kTokenEdges);
  ExpectRising(kSequenceEdges);
  ExpectRising(kFillEdges);
  ExpectRising(kPredictionEdges);
  ExpectRising(kSliceEdges);
  for (const double objective : {0.05, 0.5, 5.0}) {
    EXPECT_TRUE(std::count(kDurationEdges.begin(), kDurationEdges.end(), objective));
    EXPECT_TRUE(std::count(kPartEdges.begin(), kPartEdges.end(), objective));
  }
}

}  // namespace
}  // namespace longwave::catalogue
