#ifndef LONGWAVE_CLIENT_CLI_REPORT_H_
#define LONGWAVE_CLIENT_CLI_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "longwave/v1/model.pb.h"

namespace longwave::cli {

// What is told of one document.
struct DocumentReport {
  std::string name;
  absl::Status status;
  int64_t tokens = 0;
  int64_t tokens_used = 0;
  bool truncated = false;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t first_row = -1;  // in the output file; -1: there is none
  std::string route;
  double queue_ms = 0;  // of the request that the document travelled in
  double compute_ms = 0;
  double total_ms = 0;
  bool streamed = false;
  int resumes = 0;
  std::vector<float> first_values;
  std::vector<float> vector;  // kept for --similarity only
};

struct EncodeReport {
  v1::Model model;
  std::string output;
  bool similarity = false;
  std::vector<DocumentReport> documents;
};

// A table for people, one line a document; failed ones are left out (they were told of already).
std::string FormatTable(const EncodeReport& report);
// One JSON object with everything, failed documents too.
std::string FormatJson(const EncodeReport& report);

// Cosine of the angle between two vectors; 0 if one of them is zero. Precondition: same size.
double CosineSimilarity(absl::Span<const float> a, absl::Span<const float> b);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_REPORT_H_
