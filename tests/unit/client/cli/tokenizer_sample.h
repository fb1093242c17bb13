#ifndef LONGWAVE_TESTS_UNIT_CLIENT_CLI_TOKENIZER_SAMPLE_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_CLI_TOKENIZER_SAMPLE_H_

// What the tiny tokenizer is asked about, both with and without protobuf in the process.
inline constexpr char kTokenizerSample[] = "sequence 42 of tokens goes through attention";

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_CLI_TOKENIZER_SAMPLE_H_
