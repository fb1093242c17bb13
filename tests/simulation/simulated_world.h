#ifndef LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_
#define LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "model/api/fake_encoder.h"
#include "model/base/clock.h"
#include "server/scheduling/stepped_scheduler.h"
#include "tests/simulation/history.h"
#include "tests/simulation/recording_encoder.h"

namespace longwave {

// Clients, readers, an encoder with faults and the scheduler, in one thread and in virtual time.
// All that happens is a function of the seed.
class SimulatedWorld {
 public:
  explicit SimulatedWorld(uint32_t seed);
  ~SimulatedWorld();

  // Runs the schedule to its end.
  History Run();

 private:
  class Client;
  class Counter;
  struct OpenRequest {
    Scheduler::Ticket ticket = 0;
    std::vector<std::shared_ptr<Client>> clients;
  };

  uint32_t Below(uint32_t limit) { return random_() % limit; }
  bool Chance(uint32_t one_in) { return Below(one_in) == 0; }
  int64_t RandomLength();
  void MakeOptions();
  void MakeTenants();
  void MakeEncoder();

  void Act();
  void Submit();
  void CancelOne();
  void LetReadersRead();
  void Advance();
  bool Round();
  void Drain();

  std::mt19937 random_;
  FakeClock clock_;
  History history_;
  FakeEncoderOptions encoder_options_;
  std::unique_ptr<FakeEncoder> fake_;
  std::shared_ptr<RecordingEncoder> encoder_;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<Counter> counter_;
  std::unique_ptr<SteppedScheduler> scheduler_;
  std::vector<std::shared_ptr<const Tenant>> tenants_;
  std::vector<OpenRequest> requests_;
  int64_t submissions_left_ = 0;
  bool readers_rest_ = false;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_SIMULATED_WORLD_H_
