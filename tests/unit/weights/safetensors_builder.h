#ifndef LONGWAVE_TESTS_UNIT_WEIGHTS_SAFETENSORS_BUILDER_H_
#define LONGWAVE_TESTS_UNIT_WEIGHTS_SAFETENSORS_BUILDER_H_

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace longwave {

// Eight little-endian bytes.
inline std::string LengthBytes(uint64_t length) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(length & 0xff);
    length >>= 8;
  }
  return bytes;
}

// A file with this header, however wrong, and this data.
inline std::string RawSafetensors(const std::string& header, const std::string& data) {
  return LengthBytes(header.size()) + header + data;
}

// Builds a sound file of fp32 tensors.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& Add(const std::string& name, const std::vector<int64_t>& shape,
                          const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return AddRaw(name, "F32", shape, bytes);
  }
  SafetensorsBuilder& AddRaw(const std::string& name, const std::string& dtype,
                             const std::vector<int64_t>& shape, const std::string& bytes) {
    header_[name] = {{"dtype", dtype},
                     {"shape", shape},
                     {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
    return *this;
  }
  std::string Build() const { return RawSafetensors(header_.dump(), data_); }

 private:
  nlohmann::json header_ = nlohmann::json::object();
  std::string data_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_WEIGHTS_SAFETENSORS_BUILDER_H_
