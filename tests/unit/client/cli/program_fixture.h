#ifndef LONGWAVE_TESTS_UNIT_CLIENT_CLI_PROGRAM_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_CLI_PROGRAM_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/commands.h"
#include "tests/unit/client/cli/temp_folder.h"
#include "tests/unit/client/scripted_server.h"

namespace longwave::cli {

// The program in this process, against a scripted server.
class ProgramTest : public testing::Test {
 protected:
  ProgramTest() { server_.model.set_tokenizer_kind("byte"); }

  std::string File(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  ExitCode Run(std::vector<std::string> arguments, const std::string& input = "") {
    if (arguments[0] != "help" && arguments[0] != "--version") {
      arguments.insert(arguments.begin() + 1, {"--server", server_.target()});
    }
    std::istringstream in(input);
    out_.str("");
    err_.str("");
    return RunProgram(arguments, in, out_, err_);
  }
  nlohmann::json Out() const { return nlohmann::json::parse(out_.str()); }
  // The values of a .npy file of ours.
  std::vector<float> Npy(const std::string& path) const {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<float> values((bytes.size() - 128) / 4);
    std::memcpy(values.data(), bytes.data() + 128, values.size() * 4);
    return values;
  }

  TempFolder folder_;
  client::ScriptedServer server_;
  std::ostringstream out_;
  std::ostringstream err_;
};

inline std::vector<uint32_t> Ids(const std::string& text) {
  return std::vector<uint32_t>(text.begin(), text.end());
}

}  // namespace longwave::cli

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_CLI_PROGRAM_FIXTURE_H_
