#include "client/cli/command_table.h"

#include "client/cli/arguments.h"
#include "client/cli/load_arguments.h"
#include "client/cli/top_command.h"

namespace longwave::cli {
namespace {

constexpr char kEncodeUsage[] =
    R"(usage: longwave encode [OPTIONS] [FILE | -]...

Encodes documents: each file, each line or record of one, all files of a
directory, or standard input. Long ones travel by EncodeStream by themselves.
Prints for each document its tokens, the vectors' dimension, the route, queue
and compute time, and the first values.

  longwave encode README.md notes.txt --similarity
  longwave encode book.txt --pooling none --dtype fp16 --output rows.npy
  longwave encode corpus.jsonl --output vectors.safetensors --json
  longwave encode folder --include '*.md' --chunk-by paragraphs --output c.jsonl
  longwave encode genomes.fasta --output genomes.npy --resume
)";

constexpr char kStreamUsage[] =
    R"(usage: longwave stream [OPTIONS] --output (FILE | -) [FILE | -]...

Encodes documents by EncodeStream and writes every token's row as it comes, so
that rows larger than memory can be had. Into a pipe, npy gives an array for
each document, and raw the values alone; the summary goes to standard error.

  longwave stream book.txt --dtype fp16 --output rows.npy --resume
  longwave stream book.txt --rows 0:1000 --output - --format raw | consumer
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

Sends Encode calls at times fixed in advance by a seed, whatever becomes of
those before, and reports goodput (calls that are OK and in time), what was
refused and why, and latencies since each call was due. Replies to the same ids
must be the same bytes. A run that could not keep its own schedule, or left too
much undone, is not reported: exit code 6. Replies that contradict each other:
exit code 7.

  longwave load --rate 50 --tokens 512 --deadline 0.5 --seconds 30
  longwave load --find-capacity --tokens bimodal:128:8192 --deadline 1
  longwave load --deadline 0.2 --group name=a,tenant=a,rate=900
      --group name=b,tenant=b,rate=30
)";

constexpr char kHelpUsage[] = R"(usage: longwave help [COMMAND]

Prints what a command does and its options; without one, the list of commands.
)";

constexpr char kTopUsage[] = R"(usage: longwave top [OPTIONS]

Shows what a server does: requests and tokens a second, latencies, the queue,
refusals, memory; from its metrics page, again and again, in place on a terminal
(q ends) and as lines elsewhere. Quantiles are of the time since the last look.

  longwave top --metrics http://127.0.0.1:9090/metrics
  longwave top --interval 10 --json >> server.jsonl
)";

constexpr char kManUsage[] = R"(usage: longwave man

Prints the manual page; `longwave man | man -l -` shows it.
)";

constexpr char kCompletionUsage[] = R"(usage: longwave completion (bash | zsh | fish)

Prints a script that makes the shell complete commands, options and values.

  source <(longwave completion bash)
)";

}  // namespace

std::vector<CommandInfo> CommandTable() {
  using Operands = CommandInfo::Operands;
  return {
      {"encode", "turn documents into embeddings", kEncodeUsage, Operands::kFiles,
       EncodeOptionInfos()},
      {"stream", "write the rows of all tokens, larger than memory", kStreamUsage, Operands::kFiles,
       StreamOptionInfos()},
      {"info", "what the server's model is, takes and promises", kInfoUsage, Operands::kNone,
       InfoOptionInfos()},
      {"estimate", "what encoding would cost, without doing it", kEstimateUsage, Operands::kFiles,
       EstimateOptionInfos()},
      {"health", "whether the server serves; for probes", kHealthUsage, Operands::kNone,
       HealthOptionInfos()},
      {"load", "offer load, and report what came of it", kLoadUsage, Operands::kNone,
       LoadOptionInfos()},
      {"top", "a server's rates, latencies and queue, live", kTopUsage, Operands::kNone,
       TopOptionInfos()},
      {"man", "the manual page", kManUsage, Operands::kNone, {}},
      {"completion", "completion for a shell", kCompletionUsage, Operands::kShells, {}},
      {"help", "this text, or `longwave help COMMAND`", kHelpUsage, Operands::kCommands, {}},
  };
}

std::vector<ExitCodeInfo> ExitCodeTable() {
  return {{kExitOk, "done"},
          {kExitFailed, "failed on this side"},
          {kExitUsage, "wrong arguments or unreadable input"},
          {kExitUnavailable, "no server or not serving"},
          {kExitRefused, "refused by the server"},
          {kExitPartial, "some documents failed"},
          {kExitInvalid, "a measurement that is not valid"},
          {kExitWrongReplies, "replies that contradict each other"}};
}

}  // namespace longwave::cli
