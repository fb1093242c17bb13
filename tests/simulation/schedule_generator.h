#ifndef LONGWAVE_TESTS_SIMULATION_SCHEDULE_GENERATOR_H_
#define LONGWAVE_TESTS_SIMULATION_SCHEDULE_GENERATOR_H_

#include <cstddef>
#include <cstdint>

#include "tests/simulation/schedule.h"

namespace longwave {

// A function of the seed.
Schedule RandomSchedule(uint32_t seed);

// The same, with a fuzzer's bytes for chance; it ends where they do.
Schedule ScheduleFromBytes(const uint8_t* data, size_t size);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_SCHEDULE_GENERATOR_H_
