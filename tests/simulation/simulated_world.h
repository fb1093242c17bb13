#ifndef LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_
#define LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/api/fake_encoder.h"
#include "model/base/clock.h"
#include "server/scheduling/stepped_scheduler.h"
#include "tests/simulation/history.h"
#include "tests/simulation/recording_encoder.h"
#include "tests/simulation/schedule.h"

namespace longwave {

// Clients, readers, an encoder with faults and the scheduler, in one thread and in virtual time.
// All that happens is a function of the schedule.
class SimulatedWorld {
 public:
  // What the encoder predicts: this much for a token, and that many tokens to a slice.
  static constexpr double kSecondsPerToken = 0.001;
  static constexpr int64_t kTokensPerSlice = 20;

  explicit SimulatedWorld(Schedule schedule);
  ~SimulatedWorld();

  // Runs the schedule, then drains (unless that has begun) until all has ended.
  History Run();

 private:
  class Client;
  class Recorder;
  struct OpenRequest {
    Scheduler::Ticket ticket = 0;  // 0: refused
    std::vector<std::shared_ptr<Client>> clients;
  };

  void MakeEncoder();
  void Act(const Action& action);
  void Submit(const Submission& submission);
  SequenceHistory RecordOf(const Submission& submission, const Submission::Item& item) const;
  void CancelOne(int64_t number);
  // The slow readers too, if `all`.
  void LetReadersRead(int64_t rows, bool all);
  bool Round();
  void BeginDrain();
  void Abandon();
  void NoteMoment();

  const Schedule schedule_;
  FakeClock clock_;
  History history_;
  std::unique_ptr<FakeEncoder> fake_;
  std::shared_ptr<RecordingEncoder> encoder_;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<Recorder> recorder_;
  std::unique_ptr<SteppedScheduler> scheduler_;
  std::vector<std::shared_ptr<const Tenant>> tenants_;
  std::vector<OpenRequest> requests_;
  Moment counts_;  // as they are now
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_
