#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/client/cli/broken_input.h"
#include "tests/unit/client/cli/program_fixture.h"

namespace longwave::cli {
namespace {

using client::ExpectedValue;
using client::OurFault;
using client::StreamScript;
using nlohmann::json;

TEST_F(ProgramTest, EncodesFilesInOrderAndTellsOfEach) {
  const std::string a = File("a.txt", "first");
  const std::string b = File("b.txt", "the second");
  ASSERT_EQ(Run({"encode", a, b, "--json", "--similarity"}), kExitOk) << err_.str();
  const json report = Out();
  ASSERT_EQ(report["documents"].size(), 2);
  EXPECT_EQ(report["documents"][1]["document"], b);
  EXPECT_EQ(report["documents"][1]["tokens"], 10);
  EXPECT_EQ(report["documents"][1]["dim"], 16);
  EXPECT_EQ(report["documents"][1]["queue_ms"], 2);
  EXPECT_EQ(report["documents"][1]["compute_ms"], 5);
  EXPECT_EQ(report["documents"][1]["first_values"][2].get<float>(),
            ExpectedValue(Ids("the second"), 0, 2));
  EXPECT_EQ(report["similarity"].size(), 2);
  EXPECT_EQ(server_.requests().size(), 1);  // both in one
}

TEST_F(ProgramTest, PrintsATableByDefaultAndNothingWhenQuiet) {
  EXPECT_EQ(Run({"encode"}, "text on standard input"), kExitOk);
  EXPECT_NE(out_.str().find("document"), std::string::npos);
  EXPECT_NE(out_.str().find("chunkwise"), std::string::npos);
  EXPECT_EQ(Run({"encode", "--quiet"}, "text"), kExitOk);
  EXPECT_EQ(out_.str() + err_.str(), "");
}

TEST_F(ProgramTest, WritesRowsOfShortAndLongDocumentsInTheOrderOfTheInputs) {
  server_.model.mutable_limits()->set_max_tokens_per_request(50);
  const std::string texts[] = {"short one", std::string(70, 'l'), "short two"};
  std::vector<std::string> arguments = {"encode", "--pooling", "none",
                                        "--json", "--output",  folder_ / "rows.npy"};
  std::vector<float> expected;
  for (const std::string& text : texts) {
    arguments.push_back(File(std::to_string(arguments.size()), text));
    for (size_t row = 0; row < text.size(); ++row) {
      for (int column = 0; column < 16; ++column) {
        expected.push_back(ExpectedValue(Ids(text), row, column));
      }
    }
  }
  ASSERT_EQ(Run(arguments), kExitOk) << err_.str();
  EXPECT_EQ(Npy(folder_ / "rows.npy"), expected);
  EXPECT_EQ(Out()["documents"][0]["streamed"], false);
  EXPECT_EQ(Out()["documents"][1]["streamed"], true);
  EXPECT_EQ(Out()["documents"][1]["first_row"], 9);
  EXPECT_EQ(Out()["documents"][2]["first_row"], 79);
  EXPECT_EQ(server_.streams(), 1);
  EXPECT_EQ(folder_.Files(), 4);  // three inputs, one output, nothing else
}

TEST_F(ProgramTest, OneBadInputCostsNoOther) {
  const std::string good = File("good.txt", "good");
  const std::string empty = File("empty.txt", "");
  EXPECT_EQ(Run({"encode", folder_ / "missing.txt", empty, good, "--json"}), kExitPartial);
  ASSERT_EQ(Out()["documents"].size(), 3);
  EXPECT_EQ(Out()["documents"][0]["status"], "NOT_FOUND");
  EXPECT_EQ(Out()["documents"][1]["message"], "the document is empty");
  EXPECT_EQ(Out()["documents"][2]["status"], "OK");
  EXPECT_NE(err_.str().find("missing.txt"), std::string::npos);
}

TEST_F(ProgramTest, ADocumentThatTheServerRefusesCostsNoOther) {
  server_.on_encode = [](int, grpc::ServerContext*, const v1::EncodeRequest& request) {
    for (const uint32_t length : request.tokens().lengths()) {
      if (length == 3) return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "three is too few");
    }
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"encode", "--lines", "--json"}, "long one\nabc\nlong two\n"), kExitPartial);
  EXPECT_EQ(Out()["documents"][0]["status"], "OK");
  EXPECT_EQ(Out()["documents"][1]["message"], "three is too few");
  EXPECT_EQ(Out()["documents"][2]["status"], "OK");
  EXPECT_EQ(Run({"encode"}, "abc"), kExitRefused);
}

TEST_F(ProgramTest, ALongDocumentThatFailsOnTheWayLeavesNoRowsBehind) {
  server_.on_stream = [](int number, StreamScript& script) {
    if (number == 1) return script.ServeAll("weights-a cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(4, "weights-a cpu");
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 2, 1);
    return OurFault("broken");
  };
  const std::string output = folder_ / "rows.npy";
  EXPECT_EQ(Run({"encode", "--lines", "--stream", "--pooling", "none", "--output", output},
                "four\nxyz\n"),
            kExitPartial);
  std::vector<float> expected;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 16; ++column) {
      expected.push_back(ExpectedValue(Ids("xyz"), row, column));
    }
  }
  EXPECT_EQ(Npy(output), expected);
}

TEST_F(ProgramTest, WritesNoFileWhenNothingSucceeded) {
  server_.on_encode = [](int, grpc::ServerContext*, const v1::EncodeRequest&) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no");
  };
  EXPECT_EQ(Run({"encode", "--output", folder_ / "x.npy"}, "text"), kExitRefused);
  EXPECT_EQ(folder_.Files(), 0);
}

TEST_F(ProgramTest, DoesNotMixTheVectorsOfTwoModelsInOneFile) {
  server_.on_reply = [](int, v1::EncodeResponse* reply) { reply->set_model_digest("weights-b"); };
  EXPECT_EQ(Run({"encode", "--json", "--output", folder_ / "x.npy"}, "text"), kExitRefused);
  EXPECT_EQ(Out()["documents"][0]["reason"], "MODEL_CHANGED");
  EXPECT_EQ(folder_.Files(), 0);
}

TEST_F(ProgramTest, TellsOfOutputThatCannotBeWritten) {
  EXPECT_EQ(Run({"encode", "--output", folder_ / "no/such/x.npy"}, "text"), kExitFailed);
  EXPECT_NE(err_.str().find("no/such/x.npy"), std::string::npos);
}

TEST_F(ProgramTest, RefusesTextForAModelOfAnotherTokenizer) {
  server_.model.set_tokenizer_kind("sentencepiece");
  EXPECT_EQ(Run({"encode"}, "text"), kExitUsage);
  EXPECT_NE(err_.str().find("sentencepiece"), std::string::npos);
  EXPECT_EQ(Run({"encode", "--input-format", "ids"}, "1 2 3"), kExitOk);
}

TEST_F(ProgramTest, PassesSpansToEveryDocument) {
  server_.on_encode = [](int, grpc::ServerContext*, const v1::EncodeRequest& request) {
    const bool right = request.output().spans_size() == 4 &&
                       request.output().spans(2).sequence() == 1 &&
                       request.output().spans(3).end() == 6;
    return right ? grpc::Status::OK : OurFault("wrong spans");
  };
  EXPECT_EQ(
      Run({"encode", "--lines", "--pooling", "spans", "--spans", "0:2,2:6"}, "document\nanother\n"),
      kExitOk)
      << err_.str();
}

TEST_F(ProgramTest, AServerThatGoesAwayEndsTheWork) {
  server_.on_encode = [](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  EXPECT_EQ(Run({"encode"}, "text"), kExitUnavailable);
  EXPECT_NE(err_.str().find("draining"), std::string::npos);
}

TEST_F(ProgramTest, NoServerIsUnavailable) {
  std::istringstream in("text");
  for (const char* subcommand : {"encode", "info", "health"}) {
    err_.str("");
    EXPECT_EQ(RunProgram({subcommand, "--server", "unix:///nonexistent/socket"}, in, out_, err_),
              kExitUnavailable);
    EXPECT_NE(err_.str().find("/nonexistent/socket"), std::string::npos) << subcommand;
  }
}

TEST_F(ProgramTest, InfoDescribesTheModel) {
  EXPECT_EQ(Run({"info"}), kExitOk);
  EXPECT_NE(out_.str().find("scripted"), std::string::npos);
  EXPECT_NE(out_.str().find("weights-a"), std::string::npos);
  EXPECT_EQ(Run({"info", "--json"}), kExitOk);
  EXPECT_EQ(Out()["dim"], 16);
  EXPECT_EQ(Out()["deterministic"], false);  // what is not set is printed too
}

TEST_F(ProgramTest, EstimateTakesLengthsAndFiles) {
  EXPECT_EQ(Run({"estimate", "100", File("a.txt", "12345"), "--json"}), kExitOk) << err_.str();
  EXPECT_EQ(Out()["tokens"], 105);
  EXPECT_EQ(Out()["routes"], json({"chunkwise"}));
  EXPECT_EQ(Run({"estimate", "100"}), kExitOk);
  EXPECT_NE(out_.str().find("predicted seconds  0.250"), std::string::npos);
  EXPECT_EQ(Run({"estimate", folder_ / "missing"}), kExitUsage);
}

TEST_F(ProgramTest, HealthIsForProbes) {
  EXPECT_EQ(Run({"health"}), kExitOk);
  EXPECT_EQ(out_.str(), "SERVING\n");
  server_.server()->GetHealthCheckService()->SetServingStatus("ready", false);
  EXPECT_EQ(Run({"health", "--service", "ready"}), kExitUnavailable);
  EXPECT_EQ(out_.str(), "NOT_SERVING\n");
  EXPECT_EQ(Run({"health", "--service", "unheard of", "--quiet"}), kExitRefused);
  EXPECT_EQ(err_.str(), "");
}

TEST_F(ProgramTest, TheKeyComesFromTheEnvironmentOrAFile) {
  std::vector<std::string> seen;
  server_.on_get_model = [&](grpc::ServerContext* context) {
    const auto& metadata = context->client_metadata();
    const auto found = metadata.find("authorization");
    seen.push_back(
        found == metadata.end() ? "" : std::string(found->second.data(), found->second.size()));
    return grpc::Status::OK;
  };
  std::istringstream in;
  const std::vector<std::string> plain = {"info", "--server", server_.target()};
  std::vector<std::string> with_file = plain;
  with_file.insert(with_file.end(), {"--api-key-file", File("key", "filed\n")});
  EXPECT_EQ(RunProgram(plain, in, out_, err_), kExitOk);
  EXPECT_EQ(RunProgram(plain, in, out_, err_, {.api_key = "from-env"}), kExitOk);
  EXPECT_EQ(RunProgram(with_file, in, out_, err_, {.api_key = "from-env"}), kExitOk);
  EXPECT_EQ(seen, (std::vector<std::string>{"", "Bearer from-env", "Bearer filed"}));
}

TEST_F(ProgramTest, AccessThatCannotBeRightIsAUsageError) {
  for (const char* subcommand : {"encode", "info", "health"}) {
    EXPECT_EQ(Run({subcommand, "--tls-ca", folder_ / "missing"}), kExitUsage) << subcommand;
    EXPECT_NE(err_.str().find("--tls-ca"), std::string::npos) << subcommand;
  }
  EXPECT_EQ(Run({"estimate", "5", "--tls-ca", folder_ / "missing"}), kExitUsage);
}

TEST_F(ProgramTest, HelpAndVersionNeedNoServer) {
  EXPECT_EQ(Run({"help"}), kExitOk);
  EXPECT_EQ(Run({"help", "encode"}), kExitOk);
  EXPECT_NE(out_.str().find("--tokenizer"), std::string::npos);
  EXPECT_EQ(Run({"encode", "--bogus-is-not-read", "--help"}), kExitOk);
  EXPECT_EQ(Run({"--version"}), kExitOk);
  EXPECT_EQ(out_.str().substr(0, 9), "longwave ");
}

TEST_F(ProgramTest, WrongArgumentsAreUsageErrors) {
  std::istringstream in;
  EXPECT_EQ(RunProgram({}, in, out_, err_), kExitUsage);
  EXPECT_EQ(RunProgram({"frobnicate"}, in, out_, err_), kExitUsage);
  EXPECT_EQ(Run({"encode", "--pooling", "avg"}), kExitUsage);
  EXPECT_NE(err_.str().find("longwave help encode"), std::string::npos);
}

TEST_F(ProgramTest, ADocumentGoesWholeAndComesBackInChunks) {
  const std::string a = File("a.txt", "0123456789");
  const std::string b = File("b.jsonl",
                             "{\"id\": \"b\", \"text\": \"abc\", \"spans\": [[1, 3]]}\n"
                             "{\"id\": \"c\", \"text\": \"defg\"}\n");
  ASSERT_EQ(Run({"encode", a, b, "--chunk-tokens", "4:1", "--output", folder_ / "x.jsonl"}),
            kExitOk)
      << err_.str();
  ASSERT_EQ(server_.requests().size(), 1);
  const v1::EncodeRequest request = server_.requests()[0];
  EXPECT_EQ(request.tokens().lengths_size(), 3);
  EXPECT_EQ(request.output().pooling(), v1::POOLING_SPANS);
  std::ifstream file(folder_ / "x.jsonl");
  std::vector<std::string> rows;
  for (std::string line; std::getline(file, line);) {
    const json row = json::parse(line);
    rows.push_back(absl::StrCat(row["id"].get<std::string>(), " ", row["row"].get<int>(), " ",
                                row["begin"].get<int>(), " ", row["end"].get<int>()));
  }
  EXPECT_EQ(rows, (std::vector<std::string>{a + " 0 0 4", a + " 1 3 7", a + " 2 6 10", "b 0 1 3",
                                            "c 0 0 4"}));
}

TEST_F(ProgramTest, AStreamedDocumentComesBackInChunksToo) {
  server_.model.mutable_limits()->set_max_tokens_per_request(50);
  ASSERT_EQ(Run({"encode", "--chunk-tokens", "30", "--output", folder_ / "x.npy", "--json"},
                std::string(70, 'l')),
            kExitOk)
      << err_.str();
  EXPECT_EQ(Out()["documents"][0]["streamed"], true);
  EXPECT_EQ(Npy(folder_ / "x.npy").size(), 3 * 16);
}

TEST_F(ProgramTest, ChunksEndWhereTruncationCuts) {
  server_.model.set_max_tokens(8);
  ASSERT_EQ(Run({"encode", "--chunk-tokens", "3", "--truncate", "start"}, "0123456789"), kExitOk);
  const v1::OutputSpec output = server_.requests()[0].output();
  ASSERT_EQ(output.spans_size(), 4);
  EXPECT_EQ(output.spans(0).begin(), 2);
  EXPECT_EQ(output.spans(3).end(), 10);
}

TEST_F(ProgramTest, SpansThatNoDocumentHasAreAnErrorOfTheDocument) {
  EXPECT_EQ(Run({"encode", "--pooling", "spans", "--input-format", "jsonl"}, "{\"text\": \"a\"}"),
            kExitUsage);
  EXPECT_NE(err_.str().find("the document has no spans"), std::string::npos);
}

TEST_F(ProgramTest, RowsIntoAPipeLeaveTheSummaryToStandardError) {
  ASSERT_EQ(Run({"stream", "--output", "-", "--format", "raw"}, "abc"), kExitOk) << err_.str();
  ASSERT_EQ(out_.str().size(), 3 * 16 * 4);
  float first = 0;
  std::memcpy(&first, out_.str().data(), sizeof(first));
  EXPECT_EQ(first, ExpectedValue(Ids("abc"), 0, 0));
  EXPECT_NE(err_.str().find("document "), std::string::npos);
}

TEST_F(ProgramTest, AnInputThatBreaksOffIsAFailure) {
  BrokenInput buffer("one\ntw");
  std::istream in(&buffer);
  const std::vector<std::string> call = {"encode", "--server", server_.target(), "--lines"};
  EXPECT_EQ(RunProgram(call, in, out_, err_), kExitPartial);
  EXPECT_NE(err_.str().find("longwave: -:2: NOT_FOUND: cannot read -: Input/output error"),
            std::string::npos)
      << err_.str();
}

TEST_F(ProgramTest, ATerminalObeysNoNameOfAnInput) {
  const std::string lines =
      "{\"id\": \"\\u001b[2Jgood\", \"text\": \"t\"}\n{\"id\": \"\\u001b[2Jbad\"}\n";
  EXPECT_EQ(Run({"encode", "--input-format", "jsonl"}, lines), kExitPartial);
  EXPECT_NE(out_.str().find("?[2Jgood"), std::string::npos) << out_.str();
  EXPECT_NE(err_.str().find("?[2Jbad"), std::string::npos) << err_.str();
  EXPECT_EQ((out_.str() + err_.str()).find('\x1b'), std::string::npos);
}

TEST_F(ProgramTest, WhatALibraryThrowsIsSaid) {
  BrokenInput buffer("one\ntw");
  std::istream in(&buffer);
  in.exceptions(std::ios::badbit);
  const std::vector<std::string> call = {"encode", "--server", server_.target(), "--input-format",
                                         "npy"};
  EXPECT_EQ(RunProgram(call, in, out_, err_), kExitFailed);
  EXPECT_NE(err_.str().find("longwave: scripted"), std::string::npos) << err_.str();
}

}  // namespace
}  // namespace longwave::cli
