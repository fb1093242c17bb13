#ifndef LONGWAVE_SERVER_SERVER_PROGRAM_H_
#define LONGWAVE_SERVER_SERVER_PROGRAM_H_

#include "server/encoder_source.h"

namespace longwave {

// What a server program does with its command line, Serve included. Prints what it must. Returns
// the exit code (server/serve.h).
int RunServerProgram(int argc, char** argv, const EncoderSource& source);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SERVER_PROGRAM_H_
