#include <cstddef>
#include <cstdint>
#include <string>

#include "model/weights/safetensors.h"

// An input that begins with 'L' has its header's length in the next two bytes, kept within the
// input, so that mutations reach the header; every other input is taken as it is.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size > 4 && data[0] == 'L') {
    const uint64_t length = (data[1] | data[2] << 8) % size;
    bytes.erase(0, 3);
    std::string prefix(8, '\0');
    prefix[0] = static_cast<char>(length & 0xff);
    prefix[1] = static_cast<char>(length >> 8);
    bytes.insert(0, prefix);
  }
  const auto file = longwave::SafetensorsFile::Parse(bytes);
  if (!file.ok()) return 0;
  for (const auto& [name, tensor] : file->tensors()) file->Read(name).status().IgnoreError();
  return 0;
}
