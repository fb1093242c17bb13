#ifndef LONGWAVE_TESTS_UNIT_SECURITY_TEST_CERTIFICATES_H_
#define LONGWAVE_TESTS_UNIT_SECURITY_TEST_CERTIFICATES_H_

#include <cstdint>
#include <string>

namespace longwave {

// A certificate and its key, both PEM.
struct TestPair {
  std::string certificate;
  std::string key;
};

// What a test wants of a certificate. Times are seconds since 1970.
struct TestCertificateOptions {
  std::string name = "name";  // common name; the alternative names have the address 127.0.0.1
  int64_t not_before = 0;
  int64_t not_after = 0;
  int rsa_bits = 0;                  // 0: a P-256 key
  const TestPair* signer = nullptr;  // null: by itself, as a root
  std::string passphrase;            // of the key; empty: none
};

// Aborts on any failure of the library.
TestPair MakeTestPair(const TestCertificateOptions& options);

// Valid around now: a root, or a certificate signed by one.
TestPair MakeValidPair(const TestPair* signer = nullptr);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_SECURITY_TEST_CERTIFICATES_H_
