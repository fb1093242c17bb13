#include "model/encoder/stage_costs.h"

#include <algorithm>
#include <map>

namespace longwave {

double RouteFlopWeight(Route route) {
  switch (route) {
    case Route::kDirect:
      return 40;  // double, one row at a time, no matrix product
    default:
      return 1;  // weighed by the route itself
  }
}

double AttentionFlopWeight(const Attention& attention, int64_t tokens, Route route) {
  double weight = 0;
  for (const RouteShare& share : attention.Shares(tokens, route)) {
    weight = std::max(weight, RouteFlopWeight(share.route));
  }
  return weight;
}

Route MainRoute(const Transformer& transformer, int64_t tokens, const LayerRoutes& routes) {
  std::map<Route, int> layers;
  for (int layer = 0; layer < static_cast<int>(routes.size()); ++layer) {
    const bool planned = routes[layer] == Route::kAuto;
    ++layers[planned ? transformer.attention(layer).Plan(tokens) : routes[layer]];
  }
  return std::max_element(layers.begin(), layers.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

double HashFlopsPerRow(const Transformer& transformer) {
  double flops = 0;
  for (const int64_t size : transformer.config().ngrams.sizes) {
    flops += kHashFlops * static_cast<double>(size) + kFirstTouchFlops;
  }
  if (transformer.embedding().has_words()) flops += kWordFlops + kFirstTouchFlops;
  return flops;
}

double EmbedFlopsPerRow(const Transformer& transformer) {
  const ModelConfig& config = transformer.config();
  const double token = (kElementFlops + kFirstTouchFlops) * static_cast<double>(config.hidden_size);
  // Rows of the tables, and the passes that add what comes of them.
  const Embedding& embedding = transformer.embedding();
  int64_t floats = 0;
  double products = 0;
  if (embedding.has_ngrams()) {
    floats +=
        static_cast<int64_t>(config.ngrams.sizes.size()) * config.ngrams.dim + config.hidden_size;
    products += embedding.NgramFlopsPerRow();
  }
  if (embedding.has_words()) {
    floats += config.words.dim + config.hidden_size;
    products += embedding.WordFlopsPerRow();
  }
  return token + kElementFlops * static_cast<double>(floats) + products;
}

double QkvFlopsPerRow(const Transformer& transformer, int layer) {
  const double product = transformer.layer(layer).QkvFlopsPerRow();
  if (layer > 0) return product;
  return product + kFirstTouchFlops * static_cast<double>(3 * transformer.heads_width());
}

}  // namespace longwave
