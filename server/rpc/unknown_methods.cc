#include "server/rpc/unknown_methods.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

// Answers, and owns itself.
class Reactor final : public grpc::ServerGenericBidiReactor {
 public:
  Reactor(ConnectionGuard* guard, grpc::GenericCallbackServerContext* context)
      : call_(guard, context) {
    Finish({grpc::StatusCode::UNIMPLEMENTED,
            absl::StrCat("no such method: ", SafeText(context->method()))});
  }

  // Reset before it had its answer.
  void OnCancel() override { call_.WasEmpty(); }
  void OnDone() override { delete this; }

 private:
  ~Reactor() override = default;

  const GuardedCall call_;
};

}  // namespace

grpc::ServerGenericBidiReactor* UnknownMethods::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  return new Reactor(guard_, context);
}

}  // namespace longwave
