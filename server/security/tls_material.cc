#include "server/security/tls_material.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

template <auto free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using Context = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;

absl::Status Problem(absl::string_view what, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(what, ": ", why));
}

// The same with OpenSSL's own reason, which names no secrets; leaves its queue empty.
absl::Status LibraryProblem(absl::string_view what, absl::string_view why) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  absl::Status status =
      Problem(what, reason == nullptr ? std::string(why) : absl::StrCat(why, " (", reason, ")"));
  ERR_clear_error();
  return status;
}

Bio Open(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// All certificates of a text; at least one.
absl::StatusOr<std::vector<Certificate>> ParseCertificates(absl::string_view what,
                                                           const std::string& text) {
  if (text.empty()) return Problem(what, "the file is empty");
  const Bio bio = Open(text);
  std::vector<Certificate> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const unsigned long error = ERR_peek_last_error();
  const bool ended =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (!ended || certificates.empty())
    return LibraryProblem(what, "is not a list of PEM certificates");
  ERR_clear_error();
  return certificates;
}

// Answers a key's question for its passphrase: nobody is here.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

absl::StatusOr<Key> ParseKey(const std::string& text) {
  constexpr char kWhat[] = "private key";
  if (text.empty()) return Problem(kWhat, "the file is empty");
  const Bio bio = Open(text);
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return LibraryProblem(kWhat, "is not a PEM private key without a passphrase");
  }
  return key;
}

int64_t ToSeconds(const ASN1_TIME* time) {
  std::tm broken{};
  if (ASN1_TIME_to_tm(time, &broken) != 1) return 0;
  return timegm(&broken);
}

bool IsValidAt(const Certificate& certificate, int64_t now) {
  return ToSeconds(X509_get0_notBefore(certificate.get())) <= now &&
         now < ToSeconds(X509_get0_notAfter(certificate.get()));
}

// The earliest end of those valid at `now`; max if there is none.
int64_t FirstEnd(const std::vector<Certificate>& certificates, int64_t now) {
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const Certificate& certificate : certificates) {
    if (!IsValidAt(certificate, now)) continue;
    first = std::min(first, ToSeconds(X509_get0_notAfter(certificate.get())));
  }
  return first;
}

// As gRPC will use them, so that what it would refuse is refused here, where the old pair can stay.
absl::Status CheckPair(const std::vector<Certificate>& chain, const Key& key) {
  const Context context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return LibraryProblem("TLS", "no context");
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) {
    return LibraryProblem("certificate", "cannot be used");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) {
      return LibraryProblem("certificate", "its chain cannot be used");
    }
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return LibraryProblem("private key", "does not belong to the certificate");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TlsMaterial> CheckTlsMaterial(std::string certificate_chain, std::string private_key,
                                             std::string client_roots, int64_t now) {
  ERR_clear_error();
  const auto chain = ParseCertificates("certificate", certificate_chain);
  if (!chain.ok()) return chain.status();
  const auto key = ParseKey(private_key);
  if (!key.ok()) return key.status();
  if (absl::Status status = CheckPair(*chain, *key); !status.ok()) return status;
  for (const Certificate& certificate : *chain) {
    if (!IsValidAt(certificate, now)) return Problem("certificate", "is not valid at this time");
  }
  TlsMaterial material;
  material.certificate_not_after = FirstEnd(*chain, now);
  if (!client_roots.empty()) {
    const auto roots = ParseCertificates("client CA", client_roots);
    if (!roots.ok()) return roots.status();
    material.client_ca_not_after = FirstEnd(*roots, now);
    if (material.client_ca_not_after == std::numeric_limits<int64_t>::max()) {
      return Problem("client CA", "none of its certificates is valid at this time");
    }
  }
  material.certificate_chain = std::move(certificate_chain);
  material.private_key = std::move(private_key);
  material.client_roots = std::move(client_roots);
  return material;
}

}  // namespace longwave
