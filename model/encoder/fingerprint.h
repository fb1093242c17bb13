#ifndef LONGWAVE_MODEL_ENCODER_FINGERPRINT_H_
#define LONGWAVE_MODEL_ENCODER_FINGERPRINT_H_

#include <string>

#include "model/encoder/device.h"
#include "model/encoder/transformer.h"

namespace longwave {

// SHA-256, hex, of everything that decides the bits of a result: the weights' digest, the config's
// plan of routes over all lengths and the costs it is made by, this build and the libraries it
// computes with, the device class, the compute type, the height of a row tile. Two encoders with
// one fingerprint give the same bits for the same sequence and route.
std::string Fingerprint(const std::string& weights_digest, const Transformer& transformer,
                        const SelectedDevice& device, const std::string& compute_dtype);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_FINGERPRINT_H_
