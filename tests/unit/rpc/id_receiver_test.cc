#include "server/rpc/id_receiver.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/base/error.h"

namespace longwave {
namespace {

using Ids = std::vector<std::vector<int32_t>>;

std::string Wide(const std::vector<uint32_t>& ids, int width) {
  std::string bytes;
  for (const uint32_t id : ids) {
    for (int i = 0; i < width; ++i) bytes.push_back(static_cast<char>(id >> (8 * i)));
  }
  return bytes;
}

ErrorReason Reason(const absl::Status& status) { return GetErrorDetails(status).reason; }

TEST(IdReceiverTest, PiecesMayBeCutAnywhere) {
  const std::string bytes = Wide({1, 300, 70000, 4, 5, 6}, 4);
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    IdReceiver receiver(4, 100'000, {{.total = 2, .keep = 2}, {.total = 4, .keep = 4}});
    for (size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_TRUE(receiver.Add(at, bytes.substr(at, piece)).ok()) << piece;
    }
    ASSERT_TRUE(receiver.Finish().ok());
    EXPECT_EQ(receiver.Take(), (Ids{{1, 300}, {70000, 4, 5, 6}})) << piece;
  }
}

TEST(IdReceiverTest, KeepsOnlyWhatTruncationWants) {
  const std::string bytes = Wide({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 1);
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    IdReceiver receiver(1, 256,
                        {{.total = 4, .skip = 0, .keep = 2}, {.total = 6, .skip = 4, .keep = 2}});
    for (size_t at = 0; at < bytes.size(); at += piece) {
      ASSERT_TRUE(receiver.Add(at, bytes.substr(at, piece)).ok());
    }
    EXPECT_EQ(receiver.Take(), (Ids{{0, 1}, {8, 9}})) << piece;
  }
}

TEST(IdReceiverTest, GapsAndRepetitionsAreViolations) {
  IdReceiver receiver(2, 100, {{.total = 4, .keep = 4}});
  EXPECT_EQ(Reason(receiver.Add(2, Wide({1}, 2))), ErrorReason::kProtocolViolation);
  EXPECT_TRUE(receiver.Add(0, Wide({1, 2}, 2)).ok());
  const absl::Status repeated = receiver.Add(0, Wide({1, 2}, 2));
  EXPECT_EQ(Reason(repeated), ErrorReason::kProtocolViolation);
  EXPECT_EQ(GetErrorDetails(repeated).limit, "4");
}

TEST(IdReceiverTest, TooManyAndTooFewNameBothSizes) {
  IdReceiver receiver(2, 100, {{.total = 3, .keep = 3}});
  EXPECT_TRUE(receiver.Add(0, Wide({1, 2}, 2)).ok());
  EXPECT_EQ(GetErrorDetails(receiver.Finish()).value, "4 bytes");
  const absl::Status beyond = receiver.Add(4, Wide({3, 4}, 2));
  EXPECT_EQ(Reason(beyond), ErrorReason::kLengthsMismatch);
  EXPECT_EQ(GetErrorDetails(beyond).value, "8 bytes");
  EXPECT_EQ(GetErrorDetails(beyond).limit, "6 bytes");
  EXPECT_EQ(receiver.received_bytes(), 4) << "nothing of the refused piece counts";
}

TEST(IdReceiverTest, ABadIdIsNamedByItsPlaceInTheWhole) {
  IdReceiver receiver(1, 100, {{.total = 2, .keep = 2}, {.total = 3, .keep = 3}});
  EXPECT_TRUE(receiver.Add(0, Wide({1, 2, 3}, 1)).ok());
  const absl::Status bad = receiver.Add(3, Wide({4, 200}, 1));
  EXPECT_EQ(Reason(bad), ErrorReason::kTokenOutOfRange);
  EXPECT_EQ(GetErrorDetails(bad).field, "tokens.ids[4]");
}

TEST(IdReceiverTest, CutOffIdsAreCheckedToo) {
  IdReceiver receiver(1, 100, {{.total = 3, .skip = 0, .keep = 1}});
  EXPECT_EQ(Reason(receiver.Add(0, Wide({1, 2, 200}, 1))), ErrorReason::kTokenOutOfRange);
}

}  // namespace
}  // namespace longwave
