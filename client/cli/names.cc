#include "client/cli/names.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"

namespace longwave::cli {
namespace {

template <typename Enum>
struct Name {
  absl::string_view name;
  Enum value;
};

constexpr Name<v1::Pooling> kPoolings[] = {
    {"mean", v1::POOLING_MEAN}, {"cls", v1::POOLING_CLS},   {"last", v1::POOLING_LAST},
    {"max", v1::POOLING_MAX},   {"none", v1::POOLING_NONE}, {"spans", v1::POOLING_SPANS}};
constexpr Name<v1::DataType> kDataTypes[] = {{"fp32", v1::DATA_TYPE_FP32},
                                             {"fp16", v1::DATA_TYPE_FP16},
                                             {"bf16", v1::DATA_TYPE_BF16},
                                             {"int8", v1::DATA_TYPE_INT8},
                                             {"binary", v1::DATA_TYPE_BINARY}};
constexpr Name<v1::Route> kRoutes[] = {
    {"auto", v1::ROUTE_UNSPECIFIED}, {"direct", v1::ROUTE_DIRECT},
    {"tiles", v1::ROUTE_TILES},      {"chunkwise", v1::ROUTE_CHUNKWISE},
    {"fft", v1::ROUTE_FFT},          {"interpolation", v1::ROUTE_INTERPOLATION}};
constexpr Name<v1::Priority> kPriorities[] = {{"interactive", v1::PRIORITY_INTERACTIVE},
                                              {"batch", v1::PRIORITY_BATCH}};
constexpr Name<v1::TruncationSide> kTruncations[] = {{"refuse", v1::TRUNCATION_SIDE_UNSPECIFIED},
                                                     {"end", v1::TRUNCATION_SIDE_END},
                                                     {"start", v1::TRUNCATION_SIDE_START}};

template <typename Enum>
absl::StatusOr<Enum> Parse(absl::Span<const Name<Enum>> names, absl::string_view name) {
  for (const Name<Enum>& each : names) {
    if (each.name == name) return each.value;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "is none of ", absl::StrJoin(names, ", ", [](std::string* out, const auto& each) {
        absl::StrAppend(out, each.name);
      })));
}

template <typename Enum>
std::string NameOf(absl::Span<const Name<Enum>> names, Enum value) {
  for (const Name<Enum>& each : names) {
    if (each.value == value) return std::string(each.name);
  }
  return absl::StrCat(static_cast<int>(value));
}

template <typename Enum>
std::vector<std::string> Words(absl::Span<const Name<Enum>> names) {
  std::vector<std::string> words;
  for (const Name<Enum>& each : names) words.emplace_back(each.name);
  return words;
}

}  // namespace

std::vector<std::string> PoolingNames() { return Words<v1::Pooling>(kPoolings); }
std::vector<std::string> DataTypeNames() { return Words<v1::DataType>(kDataTypes); }
std::vector<std::string> RouteNames() { return Words<v1::Route>(kRoutes); }
std::vector<std::string> PriorityNames() { return Words<v1::Priority>(kPriorities); }
std::vector<std::string> TruncationNames() { return Words<v1::TruncationSide>(kTruncations); }

absl::StatusOr<v1::Pooling> ParsePooling(absl::string_view name) {
  return Parse<v1::Pooling>(kPoolings, name);
}
absl::StatusOr<v1::DataType> ParseDataType(absl::string_view name) {
  return Parse<v1::DataType>(kDataTypes, name);
}
absl::StatusOr<v1::Route> ParseRoute(absl::string_view name) {
  return Parse<v1::Route>(kRoutes, name);
}
absl::StatusOr<v1::Priority> ParsePriority(absl::string_view name) {
  return Parse<v1::Priority>(kPriorities, name);
}
absl::StatusOr<v1::TruncationSide> ParseTruncation(absl::string_view name) {
  return Parse<v1::TruncationSide>(kTruncations, name);
}
std::string RouteName(v1::Route route) { return NameOf<v1::Route>(kRoutes, route); }
std::string PoolingName(v1::Pooling pooling) { return NameOf<v1::Pooling>(kPoolings, pooling); }

}  // namespace longwave::cli
