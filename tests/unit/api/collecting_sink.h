#ifndef LONGWAVE_TESTS_UNIT_API_COLLECTING_SINK_H_
#define LONGWAVE_TESTS_UNIT_API_COLLECTING_SINK_H_

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/api/encoder.h"

namespace longwave {

// Keeps everything that a job says of its sequences and checks that it keeps the rules of RowSink.
class CollectingSink final : public RowSink {
 public:
  struct Result {
    std::vector<float> values;
    int64_t rows = 0;
    std::optional<absl::Status> end;
    SequenceReport report;
  };

  // Refuses the next `count` offers.
  void Refuse(int count) { refusals_ = count; }

  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    Result& result = results_[sequence];
    EXPECT_FALSE(result.end.has_value()) << "rows after the end of " << sequence;
    EXPECT_EQ(first_row, result.rows);
    EXPECT_EQ(static_cast<int64_t>(rows.values.size()), rows.rows * rows.dim);
    EXPECT_GT(rows.rows, 0);
    if (refusals_ > 0) {
      --refusals_;
      return Answer::kRefused;
    }
    result.values.insert(result.values.end(), rows.values.begin(), rows.values.end());
    result.rows += rows.rows;
    return Answer::kTaken;
  }
  void Finish(int sequence, const SequenceReport& report) override {
    End(sequence, absl::OkStatus());
    results_[sequence].report = report;
  }
  void Fail(int sequence, absl::Status status) override {
    EXPECT_FALSE(status.ok());
    End(sequence, std::move(status));
  }

  const Result& result(int sequence) { return results_[sequence]; }

 private:
  void End(int sequence, absl::Status status) {
    EXPECT_FALSE(results_[sequence].end.has_value()) << "two ends of " << sequence;
    results_[sequence].end = std::move(status);
  }

  std::map<int, Result> results_;
  int refusals_ = 0;
};

// Steps until the job ends, blocks or `limit` steps are done.
inline absl::StatusOr<EncodeJob::State> RunJob(EncodeJob& job, int limit = 1000) {
  absl::StatusOr<EncodeJob::State> state = EncodeJob::State::kMore;
  for (int i = 0; i < limit && state.ok() && *state == EncodeJob::State::kMore; ++i) {
    state = job.Step();
  }
  return state;
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_API_COLLECTING_SINK_H_
