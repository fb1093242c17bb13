// The program `longwave`: a client of longwave-server for the command line.
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/cli/commands.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  longwave::cli::Environment environment;
  if (const char* key = std::getenv("LONGWAVE_API_KEY")) environment.api_key = key;
  return longwave::cli::RunProgram(std::vector<std::string>(argv + 1, argv + argc), std::cin,
                                   std::cout, std::cerr, environment);
}
