#ifndef LONGWAVE_MODEL_BASE_OWNED_FD_H_
#define LONGWAVE_MODEL_BASE_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace longwave {

// An open descriptor, closed in the end. Movable.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      if (fd_ >= 0) close(fd_);
      fd_ = other.Release();
    }
    return *this;
  }
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Hands the descriptor over.
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_OWNED_FD_H_
