#include "model/kernels/cuda/pinned_gemm.h"

#include <cublasLt.h>

#include <array>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "model/kernels/cuda/check.h"
#include "model/kernels/cuda/device_registry.h"

namespace longwave::cuda {
namespace {

class Handle {
 public:
  Handle() { Check(cublasLtCreate(&handle_), "cublasLtCreate"); }
  ~Handle() { (void)cublasLtDestroy(handle_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  cublasLtHandle_t get() const { return handle_; }

 private:
  cublasLtHandle_t handle_ = nullptr;
};

// The library's descriptors, each destroyed by the function of its type.
class Layout {
 public:
  Layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t leading) {
    Check(cublasLtMatrixLayoutCreate(&layout_, type, rows, columns, leading),
          "cublasLtMatrixLayoutCreate");
  }
  ~Layout() { (void)cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

cublasComputeType_t ComputeOf(GemmType type) {
  return type == GemmType::kTf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cudaDataType_t NumbersOf(GemmType type) {
  return type == GemmType::kBf16 ? CUDA_R_16BF : CUDA_R_32F;
}

// W enters transposed. Made anew for each call, since it holds the bias's address and threads do
// not share it; it is a small block of host memory.
class Product {
 public:
  Product(const GemmShape& shape, const float* bias) {
    Check(cublasLtMatmulDescCreate(&product_, ComputeOf(shape.type), CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    Set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (!shape.bias) return;
    Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    Set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    if (bias != nullptr) Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }
  ~Product() { (void)cublasLtMatmulDescDestroy(product_); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  cublasLtMatmulDesc_t get() const { return product_; }

 private:
  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    Check(cublasLtMatmulDescSetAttribute(product_, attribute, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute");
  }
  cublasLtMatmulDesc_t product_ = nullptr;
};

class Preference {
 public:
  Preference() {
    Check(cublasLtMatmulPreferenceCreate(&preference_), "cublasLtMatmulPreferenceCreate");
  }
  ~Preference() { (void)cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <typename T>
  void Set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    Check(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

// An attribute of an algorithm's configuration; 0 for one that it does not have.
template <typename T>
T ConfigOf(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  T value = 0;
  size_t written = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof(value), &written);
  return status == CUBLAS_STATUS_SUCCESS ? value : T{0};
}

// Whether each element of the result is one block's sum.
bool SplitsNoSum(const cublasLtMatmulAlgo_t& algorithm) {
  return ConfigOf<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
         ConfigOf<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) ==
             CUBLASLT_REDUCTION_SCHEME_NONE;
}

constexpr int kSuggestions = 16;
// What cudaMalloc and LibTorch's allocator give at least, and tiles of rows of 32 floats keep.
constexpr uint32_t kAlignment = 16;

}  // namespace

// The library is column-major: y^T [outputs, rows] = W [outputs, inputs] x^T [inputs, rows], in
// which the stored W is its own transpose.
struct PinnedGemm::State {
  State(int device, const GemmShape& s)
      : shape(s),
        handle(OfDevice<Handle>(device)),
        weight(NumbersOf(s.type), s.inputs, s.outputs, s.inputs),
        x(NumbersOf(s.type), s.inputs, s.rows, s.inputs),
        y(CUDA_R_32F, s.outputs, s.rows, s.outputs) {}

  const GemmShape shape;
  const std::shared_ptr<Handle> handle;
  const Layout weight;
  const Layout x;
  const Layout y;
  cublasLtMatmulAlgo_t algorithm = {};
};

PinnedGemm::PinnedGemm(int device, const GemmShape& shape)
    : state_(std::make_unique<State>(device, shape)) {
  Preference preference;
  preference.Set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, size_t{0});
  preference.Set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    preference.Set(attribute, kAlignment);
  }
  std::array<cublasLtMatmulHeuristicResult_t, kSuggestions> suggestions;
  int found = 0;
  const Product product(shape, /*bias=*/nullptr);
  Check(cublasLtMatmulAlgoGetHeuristic(state_->handle->get(), product.get(), state_->weight.get(),
                                       state_->x.get(), state_->y.get(), state_->y.get(),
                                       preference.get(), kSuggestions, suggestions.data(), &found),
        "cublasLtMatmulAlgoGetHeuristic");
  for (int i = 0; i < found; ++i) {
    if (suggestions[i].state == CUBLAS_STATUS_SUCCESS && suggestions[i].workspaceSize == 0 &&
        SplitsNoSum(suggestions[i].algo)) {
      state_->algorithm = suggestions[i].algo;
      return;
    }
  }
  throw std::runtime_error(absl::StrCat("cuBLASLt has no algorithm without a split sum for ",
                                        shape.rows, " x ", shape.inputs, " x ", shape.outputs));
}

PinnedGemm::~PinnedGemm() = default;

void PinnedGemm::Run(const void* x, const void* weight, const float* bias, float* y,
                     Stream stream) const {
  const float one = 1;
  const float zero = 0;
  const State& s = *state_;
  const Product product(s.shape, bias);
  Check(cublasLtMatmul(s.handle->get(), product.get(), &one, weight, s.weight.get(), x, s.x.get(),
                       &zero, y, s.y.get(), y, s.y.get(), &s.algorithm, /*workspace=*/nullptr,
                       /*workspaceSizeInBytes=*/0, stream),
        "cublasLtMatmul");
}

std::string GemmLibrary() { return absl::StrCat("cublaslt ", cublasLtGetVersion()); }

}  // namespace longwave::cuda
