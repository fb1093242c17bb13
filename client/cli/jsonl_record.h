#ifndef LONGWAVE_CLIENT_CLI_JSONL_RECORD_H_
#define LONGWAVE_CLIENT_CLI_JSONL_RECORD_H_

#include <string>

#include "client/cli/document_maker.h"

namespace longwave::cli {

// One line of JSON as a document: "text" or "token_ids", and where they are wanted
// (SpanOptions::wanted) "spans", in tokens, or "char_spans", in code points of the text:
//
//   {"id": "a", "text": "...", "spans": [[0, 500], [500, 900]]}
//
// "id" becomes the document's name. Other keys are passed over.
void ParseJsonlRecord(const std::string& line, const DocumentMaker& maker, Document* document);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_JSONL_RECORD_H_
