#include "server/rpc/listener.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr int kBacklog = 1024;  // the kernel caps it at net.core.somaxconn
// While there is no descriptor to accept with, how long to leave the port alone.
constexpr int kPauseMilliseconds = 100;
// Connections taken from a port before the others, and whether to stop, are looked at again: a
// flood need not ever leave a port empty.
constexpr int kAcceptedAtOnce = 64;
// Bytes that a peer does not acknowledge for longer mean that it is gone; as the keepalive's.
constexpr unsigned kUserTimeoutMilliseconds = 30'000;
// One log line for this many refused connections: a flood must not become one of the log.
constexpr int64_t kRefusedPerLine = 1000;

struct Freer {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, Freer>;

absl::Status CannotListen(absl::string_view address, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("--address: cannot listen on ", address, " (", why, ")"));
}

absl::StatusOr<AddressList> Resolve(absl::string_view address) {
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return CannotListen(address, "not HOST:PORT");
  std::string host(address.substr(0, colon));
  const std::string port(address.substr(colon + 1));
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  int number = 0;
  if (!absl::SimpleAtoi(port, &number) || number < 0 || number > 65535) {
    return CannotListen(address, "the port is not a number up to 65535");
  }
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int failed =
      getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &list);
  if (failed != 0) return CannotListen(address, gai_strerror(failed));
  return AddressList(list);
}

void SetPort(sockaddr* address, int port) {
  const in_port_t wire = htons(static_cast<uint16_t>(port));
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = wire;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = wire;
  }
}

int PortOf(int fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                   : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

// A listening socket, or why not (errno).
OwnedFd ListenOn(const addrinfo& address) {
  OwnedFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fd;
  const int on = 1;
  const int off = 0;
  // A port that was left a moment ago may be taken again; one that is open may not.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (address.ai_family == AF_INET6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));  // [::] is IPv4 too
  }
  if (bind(fd.get(), address.ai_addr, address.ai_addrlen) == 0 && listen(fd.get(), kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  fd = OwnedFd();
  errno = error;
  return fd;
}

int64_t DescriptorLimit() {
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return INT32_MAX;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, INT32_MAX));
}

void SetConnectionOptions(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMilliseconds,
             sizeof(kUserTimeoutMilliseconds));
}

}  // namespace

int64_t ReservedDescriptors(int64_t limit) {
  // The metrics port alone may hold a dozen. Where there are few, connections get half.
  return std::clamp<int64_t>(limit / 2, 0, 64);
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Open(absl::string_view address, Logger* log) {
  std::unique_ptr<Listener> listener(new Listener(log));
  if (absl::Status status = listener->Bind(address); !status.ok()) return status;
  return listener;
}

absl::Status Listener::Bind(absl::string_view address) {
  auto addresses = Resolve(address);
  if (!addresses.ok()) return addresses.status();
  wake_ = OwnedFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.valid()) return CannotListen(address, std::strerror(errno));
  for (addrinfo* next = addresses->get(); next != nullptr; next = next->ai_next) {
    // Where one name stands for several addresses, they share the port that the first got.
    if (port_ != 0) SetPort(next->ai_addr, port_);
    OwnedFd fd = ListenOn(*next);
    // A machine without IPv6 still resolves names to it.
    if (!fd.valid() && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) &&
        (next->ai_next != nullptr || !listening_.empty())) {
      continue;
    }
    // [::] has opened the IPv4 wildcard already.
    if (!fd.valid() && errno == EADDRINUSE && !listening_.empty()) continue;
    if (!fd.valid()) return CannotListen(address, std::strerror(errno));
    if (port_ == 0) port_ = PortOf(fd.get());
    listening_.push_back(std::move(fd));
  }
  if (listening_.empty()) return CannotListen(address, "no such address");
  return absl::OkStatus();
}

Listener::~Listener() { Stop(); }

void Listener::Start(std::function<void(OwnedFd)> take) {
  take_ = std::move(take);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "accept");
    Run();
  });
}

void Listener::Stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    // An eventfd takes the first write always.
    while (write(wake_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
    }
    thread_.join();
  }
  listening_.clear();
}

void Listener::Run() {
  std::vector<pollfd> ready = {{wake_.get(), POLLIN, 0}};
  for (const OwnedFd& fd : listening_) ready.push_back({fd.get(), POLLIN, 0});
  bool pause = false;
  while (true) {
    // While pausing only Stop wakes.
    const int polled =
        poll(ready.data(), pause ? 1 : ready.size(), pause ? kPauseMilliseconds : -1);
    if (polled < 0 && errno != EINTR) pause = true;
    if (ready[0].revents != 0) return;
    if (polled < 0) continue;
    const bool waited = std::exchange(pause, false);
    for (size_t i = 1; i < ready.size(); ++i) {
      if ((waited || ready[i].revents != 0) && !AcceptWaiting(ready[i].fd)) pause = true;
    }
  }
}

bool Listener::AcceptWaiting(int listening) {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    OwnedFd fd(accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      const int64_t limit = DescriptorLimit();
      // The system gives the lowest free number: from here on all below are taken.
      if (fd.get() >= limit - ReservedDescriptors(limit)) {
        Refused();
        continue;  // closes it
      }
      SetConnectionOptions(fd.get());
      take_(std::move(fd));
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
    const bool short_of_something =
        errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
    if (short_of_something) {
      Refused();
      return false;
    }
    // Whatever else went wrong was the connection's: it is gone.
  }
  return true;  // what is left makes the port ready at once
}

void Listener::Refused() {
  const int64_t count = refused_.fetch_add(1, std::memory_order_relaxed);
  if (count % kRefusedPerLine != 0 || log_ == nullptr) return;
  log_->Warning("connections_refused",
                {{"count", count + 1}, {"descriptor_limit", DescriptorLimit()}});
}

}  // namespace longwave
