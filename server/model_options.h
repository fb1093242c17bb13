#ifndef LONGWAVE_SERVER_MODEL_OPTIONS_H_
#define LONGWAVE_SERVER_MODEL_OPTIONS_H_

#include <string>

#include "absl/status/status.h"

namespace longwave {

// The model and what it runs on.
struct ModelOptions {
  // A model folder, or a folder of version folders.
  std::string path = "model/default";
  std::string device = "auto";         // auto, cpu, cuda or cuda:<index>
  int threads = 0;                     // compute threads; 0 = one per processor
  std::string cpu_target = "auto";     // instruction sets: auto, avx2, avx512
  std::string compute_dtype = "fp32";  // of the dense layers: fp32; on CUDA tf32, bf16 too
  // How often the path is looked at for another version; 0 = at SIGHUP only, so that nothing
  // changes that nobody asked for.
  double poll_seconds = 0;

  absl::Status Validate() const;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MODEL_OPTIONS_H_
