#include "server/rpc/connection_guard.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/base/owned_fd.h"

namespace longwave {
namespace {

// The far end of a socket as gRPC spells it; empty for what is no TCP connection.
std::string PeerOf(int descriptor) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getpeername(descriptor, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v4.sin_port));
  }
  if (address.ss_family != AF_INET6) return "";
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof(v6));
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
    return absl::StrCat("ipv4:", text, ":", ntohs(v6.sin6_port));
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
  return absl::StrCat("ipv6:%5B", text, "%5D:", ntohs(v6.sin6_port));
}

// The descriptor may be closed and reused at any moment, so what is looked at and shut down is a
// copy, which stays the same socket.
bool ShutDownIfPeer(int descriptor, const std::string& peer) {
  const OwnedFd copy(fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return false;
  const bool found = !peer.empty() && PeerOf(copy.get()) == peer;
  if (found) shutdown(copy.get(), SHUT_RDWR);
  return found;
}

}  // namespace

void ConnectionGuard::CallBegan(const std::string& peer) {
  {
    MutexLock lock(&mutex_);
    Connection& connection = connections_[peer];
    if (++connection.open <= max_open_ || connection.cut) return;
    connection.cut = true;
  }
  cut_(peer);
}

void ConnectionGuard::CallWasEmpty(const std::string& peer) {
  {
    MutexLock lock(&mutex_);
    const Instant now = clock_->Now();
    if (second_ == Instant::min() || now - second_ >= std::chrono::seconds(1)) {
      empty_.clear();
      second_ = now;
    }
    if (++empty_[peer] != kMaxEmptyPerSecond + 1) return;  // once a second
    if (const auto found = connections_.find(peer); found != connections_.end()) {
      found->second.cut = true;
    }
  }
  cut_(peer);
}

void ConnectionGuard::CallEnded(const std::string& peer) {
  MutexLock lock(&mutex_);
  const auto found = connections_.find(peer);
  if (found == connections_.end() || --found->second.open > 0) return;
  connections_.erase(found);
}

bool ShutDownConnection(const std::string& peer) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    int descriptor = 0;
    if (absl::SimpleAtoi(entry.path().filename().string(), &descriptor) &&
        ShutDownIfPeer(descriptor, peer)) {
      return true;
    }
  }
  return false;
}

}  // namespace longwave
