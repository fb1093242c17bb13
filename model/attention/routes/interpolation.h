#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_INTERPOLATION_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_INTERPOLATION_H_

#include <memory>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/fused_layer.h"
#include "model/attention/interpolation.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Attention under c^ instead of c, which the certificate bounds, in fp32 on the CPU's own kernels.
// Blocks less than two apart are tiles, exact. Of each block J and node b one moment is kept,
//   M_Jb = sum over y of L_b(y) phi(k_(JB+y)) [v | 1]^T,
// moments of far blocks are coupled through c at differences of nodes in one matrix product,
//   F_Ia = sum over |J - I| >= 2 and b of c((J - I) B + t_b - t_a) M_Jb,
// and a query takes phi(q) sum over a of L_a(x) F_Ia. Phases, for as many heads at a time as memory
// allows: the coupling matrix, moments, products, outputs. Precondition: FusedLayer::Supports, fp32
// tiles, and a certificate for every head at this length.
std::unique_ptr<AttentionPass> MakeInterpolationPass(RouteContext context,
                                                     std::shared_ptr<const FusedLayer> layer,
                                                     const InterpolationCertificates& certificates);

AttentionCost InterpolationCost(const LayerState& layer, const FusedLayer& fused,
                                const InterpolationCertificates& certificates,
                                const std::vector<int64_t>& heads, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_INTERPOLATION_H_
