#include <filesystem>

#include "client/cli/journal.h"
#include "client/cli/output_file.h"
#include "tests/unit/client/cli/broken_input.h"
#include "tests/unit/client/cli/program_fixture.h"

namespace longwave::cli {
namespace {

using client::ExpectedValue;
using client::OurFault;
using client::StreamScript;

TEST_F(ProgramTest, WhatWasDoneIsNotComputedAgain) {
  const std::vector<std::string> arguments = {
      "stream", "--lines", "--output", folder_ / "x.safetensors", "--resume", "--json"};
  const std::string input = "first\nsecond one\nthird\n";
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number != 1) return script.ServeAll("weights-a cpu");
    return OurFault("scripted");
  };
  EXPECT_EQ(Run(arguments, input), kExitRefused);
  EXPECT_NE(err_.str().find("are kept"), std::string::npos);
  EXPECT_EQ(folder_.Files(), 2);
  EXPECT_EQ(server_.streams(), 2);
  ASSERT_EQ(Run(arguments, input), kExitOk) << err_.str();
  EXPECT_EQ(server_.streams(), 4);  // the second and third alone
  EXPECT_EQ(folder_.Files(), 1);
  ASSERT_EQ(Out()["documents"].size(), 3);
  EXPECT_EQ(Out()["documents"][0]["rows"], 5);
  EXPECT_EQ(Out()["documents"][2]["first_row"], 15);
  const auto content = [&](const std::string& name) {
    std::ifstream file(folder_ / name, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  ASSERT_EQ(Run({"stream", "--lines", "--output", folder_ / "y.safetensors"}, input), kExitOk);
  EXPECT_TRUE(content("x.safetensors") == content("y.safetensors"));
}

TEST_F(ProgramTest, DoesNotGoOnWithOtherInputsOptionsOrWeights) {
  const auto run = [&](const std::string& input, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"stream", "--lines", "--output", folder_ / "x.npy", "--resume"});
    return Run(std::move(more), input);
  };
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 0) return script.ServeAll("weights-a cpu");
    return OurFault("scripted");
  };
  EXPECT_EQ(run("first\nsecond\n"), kExitRefused);
  EXPECT_EQ(run("FIRST\nsecond\n"), kExitUsage);
  EXPECT_NE(err_.str().find("document -:1 is not what it was"), std::string::npos) << err_.str();
  EXPECT_EQ(run("\nfirst\nsecond\n"), kExitUsage);
  EXPECT_NE(err_.str().find("document -:2 comes where -:1 was"), std::string::npos) << err_.str();
  EXPECT_EQ(run("\n"), kExitUsage);
  EXPECT_NE(err_.str().find("the inputs end before document -:1"), std::string::npos) << err_.str();
  EXPECT_EQ(run("first\nsecond\n", {"--dtype", "fp16"}), kExitUsage);
  EXPECT_NE(err_.str().find("was begun with dtype"), std::string::npos) << err_.str();
  server_.model.set_fingerprint("weights-b cpu");
  EXPECT_EQ(run("first\nsecond\n"), kExitUsage);
  EXPECT_NE(err_.str().find("was begun with fingerprint 'weights-a cpu'"), std::string::npos);
  server_.model.set_fingerprint("weights-a cpu");
  server_.on_stream = {};
  EXPECT_EQ(run("first\nsecond\n"), kExitOk) << err_.str();
}

// The rows that came before the server broke off are not wanted again, nor lost to a call that
// would not stream by itself.
TEST_F(ProgramTest, ADocumentGoesOnAtItsRow) {
  const std::vector<std::string> arguments = {"encode",   "--pooling",       "none",
                                              "--output", folder_ / "x.npy", "--resume"};
  std::vector<std::string> streamed = arguments;
  streamed.push_back("--stream");
  const std::string text(30, 't');
  std::vector<uint64_t> began_at;
  bool broken = true;
  server_.on_stream = [&](int, StreamScript& script) {
    if (!broken) return script.ServeAll("weights-a cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    began_at.push_back(script.open.resume_from_row());
    script.Accept(30, "weights-a cpu");
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    if (began_at.size() == 1) script.Rows(0, 14, 7);
    return OurFault("scripted");
  };
  EXPECT_EQ(Run(streamed, text), kExitRefused);
  EXPECT_EQ(Run(arguments, text), kExitRefused);
  EXPECT_EQ(began_at, (std::vector<uint64_t>{0, 14}));
  EXPECT_EQ(Run(streamed, "\n"), kExitUsage);  // another document
  broken = false;
  ASSERT_EQ(Run(arguments, text), kExitOk) << err_.str();
  EXPECT_EQ(server_.requests().size(), 0);
  std::vector<float> expected;
  for (int i = 0; i < 30 * 16; ++i) {
    expected.push_back(ExpectedValue(Ids(text), i / 16, i % 16));
  }
  EXPECT_EQ(Npy(folder_ / "x.npy"), expected);
}

// A document whose rest is refused for good leaves no rows, and its successors' rows are whole.
TEST_F(ProgramTest, APartThatCannotGoOnLeavesNoRows) {
  const std::vector<std::string> arguments = {"stream",          "--lines",  "--output",
                                              folder_ / "x.npy", "--resume", "--json"};
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 2) return script.ServeAll("weights-a cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    if (number == 1) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "scripted");
    script.Accept(9, "weights-a cpu");
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 5, 5);
    return OurFault("scripted");
  };
  EXPECT_EQ(Run(arguments, "the first\nnext\n"), kExitRefused);
  EXPECT_EQ(Run(arguments, "the first\nnext\n"), kExitPartial) << err_.str();
  EXPECT_EQ(Out()["documents"][1]["first_row"], 0);
  ASSERT_EQ(Npy(folder_ / "x.npy").size(), 4 * 16);
  EXPECT_EQ(Npy(folder_ / "x.npy")[0], ExpectedValue(Ids("next"), 0, 0));
}

// A document that is bad stays bad; its place in the output is known to be empty.
TEST_F(ProgramTest, BadDocumentsAreRememberedAndKeepNobodyUp) {
  const std::vector<std::string> arguments = {
      "encode", "--input-format", "jsonl", "--output", folder_ / "x.npy", "--resume", "--json"};
  EXPECT_EQ(Run(arguments, "{\"text\": \"good\"}\nbad\n"), kExitPartial);
  EXPECT_EQ(folder_.Files(), 1);
  EXPECT_EQ(Run(arguments, "bad\n"), kExitUsage);
  EXPECT_EQ(folder_.Files(), 1);  // of which nothing is worth keeping
}

TEST_F(ProgramTest, ChunksThatTruncationCutsAreTakenUpAgain) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number != 1) return script.ServeAll("weights-a cpu");
    return OurFault("scripted");
  };
  const std::vector<std::string> encode = {
      "encode",       "--lines", "--stream", "--chunk-tokens",  "3",        "--truncate", "end",
      "--max-tokens", "8",       "--output", folder_ / "x.npy", "--resume", "--json"};
  const std::string input = "0123456789\nabcdefghij\n";
  EXPECT_NE(Run(encode, input), kExitOk);
  EXPECT_NE(err_.str().find("are kept"), std::string::npos) << err_.str();
  server_.on_stream = {};
  ASSERT_EQ(Run(encode, input), kExitOk) << err_.str();
  EXPECT_EQ(Out()["documents"][1]["first_row"], 3);
}

// Of a run that was stopped between the new name and the journal's end: nothing is left to compute,
// and whether it was this run is asked all the same.
TEST_F(ProgramTest, AFinishedOutputIsOfTheseInputsOrRefused) {
  const std::string output = folder_ / "x.npy";
  const std::string journal = Journal::PathOf(output);
  const std::vector<std::string> arguments = {"stream", "--lines",  "--output",
                                              output,   "--resume", "--json"};
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 0) std::filesystem::create_hard_link(journal, folder_ / "saved");
    return script.ServeAll("weights-a cpu");
  };
  ASSERT_EQ(Run(arguments, "first\nsecond\n"), kExitOk) << err_.str();
  const auto crashed = [&] {
    std::filesystem::copy_file(folder_ / "saved", journal,
                               std::filesystem::copy_options::overwrite_existing);
  };
  crashed();
  EXPECT_EQ(Run(arguments, "FIRST\nsecond\n"), kExitUsage);
  EXPECT_NE(err_.str().find("document -:1 is not what it was"), std::string::npos) << err_.str();
  EXPECT_EQ(Run(arguments, "first\n"), kExitUsage);
  EXPECT_NE(err_.str().find("the inputs end before document -:2"), std::string::npos);
  EXPECT_EQ(Run(arguments, "first\nsecond\nthird\n"), kExitUsage);
  EXPECT_NE(err_.str().find("document -:3 was not there when"), std::string::npos) << err_.str();
  EXPECT_EQ(server_.streams(), 2);
  ASSERT_EQ(Run(arguments, "first\nsecond\n"), kExitOk) << err_.str();
  EXPECT_EQ(Out()["documents"].size(), 2);
  EXPECT_EQ(server_.streams(), 2);
  EXPECT_EQ(folder_.Files(), 2);  // the output and what was saved
}

TEST_F(ProgramTest, AKeyThatRanOutEndsTheRunAndNoDocumentIsLost) {
  const std::vector<std::string> arguments = {"stream",          "--lines",  "--output",
                                              folder_ / "x.npy", "--resume", "--json"};
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 0) return script.ServeAll("weights-a cpu");
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the key has expired");
  };
  EXPECT_EQ(Run(arguments, "first\nsecond\nthird\n"), kExitRefused);
  EXPECT_EQ(server_.streams(), 2);
  server_.on_stream = {};
  ASSERT_EQ(Run(arguments, "first\nsecond\nthird\n"), kExitOk) << err_.str();
  EXPECT_EQ(Out()["documents"][2]["first_row"], 11);
}

TEST_F(ProgramTest, AnInputThatCannotBeReadIsWaitedFor) {
  const std::string a = File("a.txt", "first");
  const std::vector<std::string> arguments = {
      "stream", a, folder_ / "late.txt", "--output", folder_ / "x.npy", "--resume", "--json"};
  EXPECT_EQ(Run(arguments), kExitUsage);
  EXPECT_NE(err_.str().find("late.txt"), std::string::npos);
  EXPECT_NE(err_.str().find("are kept"), std::string::npos) << err_.str();
  File("late.txt", "second");
  ASSERT_EQ(Run(arguments), kExitOk) << err_.str();
  EXPECT_EQ(server_.streams(), 2);

  // What breaks off in the middle is no end.
  BrokenInput buffer("one\ntw");
  std::istream in(&buffer);
  const std::vector<std::string> lines = {
      "stream", "--server", server_.target(), "--lines", "--output", folder_ / "y.npy", "--resume"};
  EXPECT_EQ(RunProgram(lines, in, out_, err_), kExitUsage);
  std::istringstream whole("one\ntwo\n");
  EXPECT_EQ(RunProgram(lines, whole, out_, err_), kExitOk) << err_.str();
  EXPECT_EQ(Npy(folder_ / "y.npy").size(), 6 * 16);
}

TEST_F(ProgramTest, AnOutputAmongItsInputsIsNoInput) {
  std::filesystem::create_directory(folder_ / "in");
  File("in/a.txt", "first");
  File("in/z.txt", "second");
  const std::vector<std::string> arguments = {
      "stream", folder_ / "in", "--output", folder_ / "in/x.npy", "--resume", "--json"};
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 0) return script.ServeAll("weights-a cpu");
    return OurFault("scripted");
  };
  EXPECT_EQ(Run(arguments), kExitRefused);
  server_.on_stream = {};
  for (int run = 0; run < 2; ++run) {
    ASSERT_EQ(Run(arguments), kExitOk) << err_.str();
    EXPECT_EQ(Out()["documents"].size(), 2);
  }
}

// Rows that nobody knows of are not ours to drop.
TEST_F(ProgramTest, AKeptFileWithoutAJournalIsLeftAlone) {
  const std::string part = File("x.npy.part", "somebody's");
  const std::vector<std::string> arguments = {"stream", "--output", folder_ / "x.npy", "--resume"};
  for (int run = 0; run < 2; ++run) {
    EXPECT_EQ(Run(arguments, "text"), kExitUsage);
    EXPECT_NE(err_.str().find(part + " is there already"), std::string::npos) << err_.str();
    std::ifstream file(part);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "somebody's");
  }
  File("x.npy.part", "");
  EXPECT_EQ(Run(arguments, "text"), kExitOk) << err_.str();
}

}  // namespace
}  // namespace longwave::cli
