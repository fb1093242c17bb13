#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"

namespace longwave::cli {
namespace {

constexpr char kProgramHelp[] =
    R"(usage: longwave COMMAND [OPTIONS] [INPUTS]

  encode     turn documents into embeddings
  info       what the server's model is, takes and promises
  estimate   what encoding would cost, without doing it
  health     whether the server serves; for probes
  load       offer load, and report what came of it
  help       this text, or `longwave help COMMAND`

  --version  the program's version

Exit codes: 0 done, 1 failed on this side, 2 wrong arguments or unreadable
input, 3 no server or not serving, 4 refused by the server, 5 some documents
failed, 6 a measurement that is not valid, 7 replies that contradict each other.
)";

constexpr char kEncodeUsage[] =
    R"(usage: longwave encode [OPTIONS] [FILE | -]...

Encodes documents: each file, or each line of one, or standard input. Long ones
travel by EncodeStream by themselves. Prints for each document its tokens, the
vectors' dimension, the route, queue and compute time, and the first values.

  longwave encode README.md notes.txt --similarity
  longwave encode book.txt --pooling none --dtype fp16 --output rows.npy
  longwave encode corpus.jsonl --output vectors.safetensors --json
)";

constexpr char kEstimateUsage[] = R"(usage: longwave estimate [OPTIONS] (TOKENS | FILE)...

Asks what encoding sequences of so many tokens, or these files, would cost:
time, wait, memory, route, and whether the server would take it now.
)";

constexpr char kInfoUsage[] = R"(usage: longwave info [OPTIONS]

Prints the model's name, dimensions, limits, routes and fingerprints.
)";

constexpr char kHealthUsage[] = R"(usage: longwave health [OPTIONS]

Prints the state that grpc.health.v1 reports. Exit code 0: SERVING; 3: not
serving, or no server; 4: the server does not know the service.
)";

constexpr char kLoadUsage[] =
    R"(usage: longwave load [OPTIONS]

Sends Encode calls at times fixed in advance by a seed, whatever becomes of those
before, and reports goodput (calls that are OK and in time), what was refused and
why, and latencies since each call was due. Replies to the same ids must be the
same bytes. A run that could not keep its own schedule, or left too much undone,
is not reported: exit code 6. Replies that contradict each other: exit code 7.

  longwave load --rate 50 --tokens 512 --deadline 0.5 --seconds 30
  longwave load --find-capacity --tokens bimodal:128:8192 --deadline 1
  longwave load --deadline 0.2 --group name=a,tenant=a,rate=900
      --group name=b,tenant=b,rate=30
)";

absl::string_view Usage(absl::string_view subcommand) {
  if (subcommand == "encode") return kEncodeUsage;
  if (subcommand == "estimate") return kEstimateUsage;
  if (subcommand == "info") return kInfoUsage;
  if (subcommand == "health") return kHealthUsage;
  if (subcommand == "load") return kLoadUsage;
  return "";
}

}  // namespace

std::string HelpText(absl::string_view subcommand) {
  const absl::string_view usage = Usage(subcommand);
  return usage.empty() ? kProgramHelp : absl::StrCat(usage, "\n", OptionsHelp(subcommand));
}

}  // namespace longwave::cli
