#ifndef LONGWAVE_TESTS_SIMULATION_SCHEDULE_H_
#define LONGWAVE_TESTS_SIMULATION_SCHEDULE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/api/fake_encoder.h"
#include "server/scheduling/scheduler.h"

// All that decides what happens in one simulated run, as data: a schedule that once found something
// is kept as text and means the same for ever, whatever the generator draws by then.
namespace longwave {

// One request. Times are in seconds from the moment at which it is submitted.
struct Submission {
  struct Item {
    int64_t tokens = 1;
    bool rows = false;  // all rows are asked for; else their mean
  };
  Priority priority = Priority::kInteractive;
  std::string tenant;   // one of ScheduleTenants; empty: the one without a name
  double deadline = 0;  // not above -1: none
  int64_t reply_bytes = 0;
  bool streamed = false;
  int64_t room = 0;  // for rows of a streamed one, before its reader reads
  std::vector<Item> items;
};

constexpr double kNoDeadline = -1;

// What callers, readers, time and the executor do, one after the other.
struct Action {
  enum class Kind {
    kSubmit,
    kCancel,   // the `number`-th request; nothing if it was refused
    kRead,     // every reader but the slow ones takes up to `number` rows
    kAdvance,  // time passes: `seconds`
    kSlow,     // every slice takes `seconds` longer from now on
    kRound,    // the executor runs once; if there was nothing to run, `seconds` pass
    kDrain,    // begins
    kAbandon,  // the drain runs out of time
  };
  Kind kind = Kind::kRound;
  int64_t number = 0;
  double seconds = 0;
  Submission submission;
};

struct Schedule {
  SchedulerOptions options;
  double time_factor = 1;  // time taken / time predicted
  int64_t rows_per_offer = 1;
  int64_t out_of_memory_above_tokens = 0;  // 0: never
  std::vector<FakeFault> faults;
  std::vector<Action> actions;
};

// The tenants of every schedule; the first has no name.
const std::vector<Tenant>& ScheduleTenants();

// One line for each part; '#' begins a comment.
std::string ToText(const Schedule& schedule);
// INVALID_ARGUMENT with the line that it does not understand.
absl::StatusOr<Schedule> ParseSchedule(absl::string_view text);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_SCHEDULE_H_
