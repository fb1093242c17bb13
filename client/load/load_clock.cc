#include "client/load/load_clock.h"

#include <thread>

namespace longwave::load {

void SteadyLoadClock::SleepUntil(double seconds) { std::this_thread::sleep_until(At(seconds)); }

}  // namespace longwave::load
