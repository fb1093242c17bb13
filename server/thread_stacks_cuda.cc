// Only in CUDA builds (chosen by CMake). The CUDA libraries' static thread-local storage is taken
// from every thread's stack, and leaves nothing of the 100 KiB that civetweb (the metrics port's
// server) asks for: its threads cannot be created, and the library has no option for it. The
// program's own definition of this function comes before glibc's, for all libraries of the process.

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

extern "C" __attribute__((visibility("default"))) int pthread_attr_setstacksize(
    pthread_attr_t* attributes, size_t bytes) {
  constexpr size_t kSmallest = size_t{1} << 20;
  using SetStackSize = int (*)(pthread_attr_t*, size_t);
  static const auto kNext =
      reinterpret_cast<SetStackSize>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return kNext == nullptr ? EINVAL : kNext(attributes, std::max(bytes, kSmallest));
}
