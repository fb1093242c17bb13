#include "tests/unit/security/test_certificates.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdlib>
#include <ctime>

namespace longwave {
namespace {

constexpr int64_t kDay = 24 * 3600;

void Check(bool good) {
  if (!good) std::abort();
}

std::string Drain(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(size));
  BIO_free(bio);
  return text;
}

std::string KeyText(EVP_PKEY* key, const std::string& passphrase) {
  BIO* bio = BIO_new(BIO_s_mem());
  const bool open = passphrase.empty();
  Check(PEM_write_bio_PrivateKey(
            bio, key, open ? nullptr : EVP_aes_256_cbc(),
            open ? nullptr : reinterpret_cast<const unsigned char*>(passphrase.data()),
            static_cast<int>(passphrase.size()), nullptr, nullptr) == 1);
  return Drain(bio);
}

void AddExtension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  Check(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* ParseCertificate(const std::string& text) {
  BIO* bio = BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return certificate;
}

EVP_PKEY* ParseKey(const std::string& text) {
  BIO* bio = BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return key;
}

}  // namespace

TestPair MakeTestPair(const TestCertificateOptions& options) {
  EVP_PKEY* key = options.rsa_bits > 0 ? EVP_RSA_gen(static_cast<unsigned int>(options.rsa_bits))
                                       : EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  Check(key != nullptr && certificate != nullptr);
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), std::rand());
  ASN1_TIME_set(X509_getm_notBefore(certificate), options.not_before);
  ASN1_TIME_set(X509_getm_notAfter(certificate), options.not_after);
  X509_set_pubkey(certificate, key);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1,
                             0);
  if (options.signer == nullptr) {
    X509_set_issuer_name(certificate, name);
    AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE");
    AddExtension(certificate, NID_subject_alt_name, "IP:127.0.0.1");
    Check(X509_sign(certificate, key, EVP_sha256()) > 0);
  } else {
    X509* issuer = ParseCertificate(options.signer->certificate);
    EVP_PKEY* issuer_key = ParseKey(options.signer->key);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    AddExtension(certificate, NID_subject_alt_name, "IP:127.0.0.1");
    Check(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
  }
  BIO* bio = BIO_new(BIO_s_mem());
  Check(PEM_write_bio_X509(bio, certificate) == 1);
  TestPair pair{Drain(bio), KeyText(key, options.passphrase)};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return pair;
}

TestPair MakeValidPair(const TestPair* signer) {
  const int64_t now = std::time(nullptr);
  // A certificate that has its signer's name counts as its own signer.
  return MakeTestPair({.name = signer == nullptr ? "root" : "signed",
                       .not_before = now - kDay,
                       .not_after = now + kDay,
                       .signer = signer});
}

}  // namespace longwave
