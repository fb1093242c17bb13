#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/error_text.h"
#include "client/cli/names.h"
#include "client/cli/printable.h"
#include "client/client.h"

namespace longwave::cli {
namespace {

std::string Routes(const v1::Model& model) {
  return absl::StrJoin(model.routes(), ", ", [](std::string* out, int route) {
    absl::StrAppend(out, RouteName(static_cast<v1::Route>(route)));
  });
}

std::string Text(const v1::Model& model) {
  std::string text;
  const auto line = [&text](absl::string_view key, const auto& value) {
    absl::StrAppendFormat(&text, "%-22s %s\n", key, absl::StrCat(value));
  };
  line("model", model.name());
  line("version", model.version());
  line("state", v1::ModelState_Name(model.state()));
  line("dim", model.dim());
  line("layers", model.layers());
  line("vocabulary", model.vocab_size());
  line("longest sequence", absl::StrCat(model.max_tokens(), " tokens"));
  line("inputs", absl::StrJoin(model.input_kinds(), ", "));
  line("pooling", absl::StrCat(PoolingName(model.default_pooling()), ", ",
                               model.default_normalize() ? "normalised" : "not normalised"));
  line("truncated sizes",
       model.truncate_dims_size() == 0 ? "none" : absl::StrJoin(model.truncate_dims(), ", "));
  line("tokenizer", absl::StrCat(model.tokenizer_kind(), " ", model.tokenizer_fingerprint()));
  line("routes", Routes(model));
  for (const v1::RouteCertificate& certificate : model.certificates()) {
    line("certified", absl::StrFormat("%s within %.2g", RouteName(certificate.route()),
                                      certificate.error_bound()));
  }
  line("device", absl::StrCat(model.device(), ", ", model.compute_dtype()));
  line("same bits promised", model.deterministic() ? "yes" : "no");
  line("longest slice", absl::StrFormat("%.1f ms", model.max_slice_seconds() * 1e3));
  line("weights", model.weights_digest());
  line("fingerprint", model.fingerprint());
  const v1::Limits& limits = model.limits();
  line("tokens a request", limits.max_tokens_per_request());
  line("sequences a request", limits.max_sequences_per_request());
  line("unary reply", absl::StrCat(limits.max_unary_reply_bytes(), " bytes"));
  return text;
}

}  // namespace

ExitCode RunInfo(const InfoArguments& arguments, std::ostream& out, std::ostream& err) {
  auto client = Connect(arguments.server, arguments.access);
  if (!client.ok()) {
    err << "longwave: " << client.status().message() << "\n";
    return kExitUsage;
  }
  const auto model = (*client)->GetModel(arguments.model, arguments.model_version);
  if (!model.ok()) {
    err << "longwave: " << DescribeError(model.status(), arguments.server) << "\n";
    return ExitCodeOf(model.status());
  }
  if (!arguments.json) {
    out << PrintableLines(Text(*model));
    return kExitOk;
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(*model, &json, options).ok()) {
    err << "longwave: the model's description cannot be written as JSON\n";
    return kExitFailed;
  }
  out << json;
  return kExitOk;
}

}  // namespace longwave::cli
