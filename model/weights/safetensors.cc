#include "model/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/weights/json_fields.h"

namespace longwave {
namespace {

constexpr uint64_t kMaxHeader = 16 << 20;
constexpr size_t kLengthBytes = 8;
constexpr int64_t kMaxExtent = int64_t{1} << 48;

constexpr std::array<std::pair<absl::string_view, StoredType>, 3> kTypes = {
    {{"F32", StoredType::kF32}, {"F16", StoredType::kF16}, {"BF16", StoredType::kBf16}}};

int64_t Width(StoredType type) { return type == StoredType::kF32 ? 4 : 2; }

// Little-endian, as all of the format.
uint64_t LittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

// Said of a file whose start makes no sense: a 0x80 or "PK" may also begin a sound file's length.
std::string Guess(absl::string_view bytes) {
  if (absl::StartsWith(bytes, "PK\x03\x04")) {
    return "; this looks like a ZIP archive (TorchScript or torch.save), which is never read";
  }
  if (absl::StartsWith(bytes, "\x80")) return "; this looks like a pickle, which is never read";
  return "";
}

absl::StatusOr<absl::string_view> Header(absl::string_view bytes) {
  if (bytes.size() < kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(bytes.size(), " bytes are too few: expected ",
                                                   kLengthBytes, " bytes of header length first",
                                                   Guess(bytes)));
  }
  const uint64_t length = LittleEndian(bytes.substr(0, kLengthBytes));
  if (length > kMaxHeader) {
    return absl::InvalidArgumentError(absl::StrCat("a header of ", length, " bytes: at most ",
                                                   kMaxHeader, " are accepted", Guess(bytes)));
  }
  if (length > bytes.size() - kLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("truncated: ", bytes.size(),
                                                   " bytes found, at least ", kLengthBytes + length,
                                                   " expected for the header", Guess(bytes)));
  }
  const absl::string_view header = bytes.substr(kLengthBytes, length);
  if (!absl::StartsWith(header, "{")) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header does not begin with '{'", Guess(bytes)));
  }
  return header;
}

// Bytes that a tensor of this type and shape has; -1 if that overflows.
int64_t ByteCount(const StoredTensor& tensor) {
  int64_t count = Width(tensor.type);
  for (const int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(count, extent, &count)) return -1;
  }
  return count;
}

StoredTensor ReadEntry(JsonFields fields, const std::string& name, Problems& problems) {
  StoredTensor tensor;
  tensor.type = fields.Choice<StoredType>("dtype", std::nullopt, kTypes);
  if (!fields.Has("shape")) fields.Refuse("shape", "an array of sizes");
  tensor.shape = fields.Integers("shape", 0, kMaxExtent);
  const std::vector<int64_t> offsets = fields.Integers("data_offsets", 0, kMaxExtent);
  fields.RefuseUnknown();
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fields.Refuse("data_offsets", "[begin, end] with begin <= end");
  } else {
    tensor.begin = offsets[0];
    tensor.end = offsets[1];
  }
  if (!problems.empty()) return tensor;
  if (ByteCount(tensor) != tensor.end - tensor.begin) {
    problems.Add(absl::StrCat(Quoted(name), ": ", tensor.end - tensor.begin,
                              " bytes, but type and shape say ", ByteCount(tensor)));
  }
  return tensor;
}

// The tensors must tile [0, size).
absl::Status CheckLayout(const std::map<std::string, StoredTensor, std::less<>>& tensors,
                         int64_t size) {
  std::vector<std::pair<const StoredTensor*, const std::string*>> ordered;
  for (const auto& [name, tensor] : tensors) ordered.emplace_back(&tensor, &name);
  std::sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  int64_t expected = 0;
  for (const auto& [tensor, name] : ordered) {
    if (tensor->begin != expected) {
      return absl::InvalidArgumentError(absl::StrCat(Quoted(*name), " begins at byte ",
                                                     tensor->begin, " of the data, but ", expected,
                                                     " is where the tensor before it ends"));
    }
    expected = tensor->end;
  }
  if (expected == size) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(expected > size ? "truncated: " : "bytes after the last tensor: ", size,
                   " bytes of data found, ", expected, " expected"));
}

float HalfToFloat(uint16_t half) {
  const int exponent = half >> 10 & 0x1f;
  const int fraction = half & 0x3ff;
  float magnitude =
      std::ldexp(static_cast<float>(fraction + (exponent ? 0x400 : 0)), std::max(exponent, 1) - 25);
  if (exponent == 0x1f) magnitude = fraction == 0 ? HUGE_VALF : NAN;
  return half & 0x8000 ? -magnitude : magnitude;
}

float ValueAt(absl::string_view bytes, StoredType type) {
  const uint32_t bits = LittleEndian(bytes);
  if (type == StoredType::kF16) return HalfToFloat(bits);
  const uint32_t float_bits = type == StoredType::kBf16 ? bits << 16 : bits;
  float value;
  std::memcpy(&value, &float_bits, sizeof(value));
  return value;
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Parse(absl::string_view bytes) {
  const absl::StatusOr<absl::string_view> header = Header(bytes);
  if (!header.ok()) return header.status();
  const absl::StatusOr<nlohmann::json> entries = ParseJsonObject(*header);
  if (!entries.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("header: ", entries.status().message()));
  }
  SafetensorsFile file;
  file.data_ = bytes.substr(kLengthBytes + header->size());
  Problems problems;
  for (const auto& [name, entry] : entries->items()) {
    if (name == "__metadata__") continue;
    if (!entry.is_object()) {
      problems.Add(absl::StrCat(Quoted(name), ": not an object"));
      continue;
    }
    const JsonFields fields(entry, absl::StrCat(Quoted(name), "."), &problems);
    file.tensors_.emplace(name, ReadEntry(fields, name, problems));
  }
  if (!problems.empty()) return problems.ToStatus("the header has problems:");
  const absl::Status layout = CheckLayout(file.tensors_, file.data_.size());
  if (!layout.ok()) return layout;
  return file;
}

absl::StatusOr<std::vector<float>> SafetensorsFile::Read(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat("no tensor ", Quoted(name)));
  }
  const StoredTensor& tensor = found->second;
  const int64_t width = Width(tensor.type);
  std::vector<float> values((tensor.end - tensor.begin) / width);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = ValueAt(data_.substr(tensor.begin + i * width, width), tensor.type);
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(name), ": value ", i, " is not finite"));
    }
  }
  return values;
}

}  // namespace longwave
