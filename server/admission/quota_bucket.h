#ifndef LONGWAVE_SERVER_ADMISSION_QUOTA_BUCKET_H_
#define LONGWAVE_SERVER_ADMISSION_QUOTA_BUCKET_H_

#include <algorithm>
#include <cmath>

#include "model/base/clock.h"
#include "server/admission/tenant.h"

namespace longwave {

// What one tenant may still use of its quota, in predicted seconds of compute. Whoever has anything
// left may take a request of any size and goes into debt for it, so that a long sequence needs no
// burst of its length. Not thread-safe.
class QuotaBucket {
 public:
  QuotaBucket(const Tenant& tenant, Instant now)
      : rate_(tenant.max_compute_share), burst_(BurstOf(tenant)), left_(burst_), then_(now) {}

  // The tenant's quota may have changed: what was used and saved up to now stays, within the burst.
  void Follow(const Tenant& tenant, Instant now) {
    if (tenant.max_compute_share == rate_ && BurstOf(tenant) == burst_) return;
    const bool had_quota = !std::isinf(rate_);
    const double left = had_quota ? LeftAt(now) : BurstOf(tenant);
    *this = QuotaBucket(tenant, now);
    left_ = std::min(left, burst_);
  }

  // Seconds until another request is let in; 0: now. Infinite if the tenant may use nothing.
  double WaitSeconds(Instant now) const {
    const double left = LeftAt(now);
    return left >= kLeastSeconds ? 0 : (kLeastSeconds - left) / rate_;
  }
  void Take(double seconds, Instant now) {
    left_ = LeftAt(now) - seconds;
    then_ = now;
  }

 private:
  static constexpr double kLeastSeconds = 1e-3;

  // Less than what lets a request in would let none in, ever.
  static double BurstOf(const Tenant& tenant) {
    return std::max(tenant.burst_seconds, kLeastSeconds);
  }

  double LeftAt(Instant now) const {
    if (std::isinf(rate_)) return burst_ + kLeastSeconds;
    return std::min(burst_, left_ + rate_ * ToSeconds(now - then_));
  }

  double rate_;
  double burst_;
  double left_;
  Instant then_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_QUOTA_BUCKET_H_
