#ifndef LONGWAVE_CLIENT_TOP_TOP_TEXT_H_
#define LONGWAVE_CLIENT_TOP_TOP_TEXT_H_

#include <string>
#include <vector>

#include "client/top/top_report.h"

namespace longwave::top {

// For people, a screen of lines without their ends. `where` names the server.
std::vector<std::string> ScreenLines(const TopReport& report, const std::string& where,
                                     double now_seconds);
// One line of columns for a log, and what stands above them.
std::string LogHeader();
std::string LogLine(const TopReport& report);
// One JSON object on one line; null for what was not measured.
std::string JsonLine(const TopReport& report);

// "1.5 ms", "12 s"; "-" for nothing.
std::string Duration(std::optional<double> seconds);
// "1.2k", "3.4M".
std::string Amount(double value);

}  // namespace longwave::top

#endif  // LONGWAVE_CLIENT_TOP_TOP_TEXT_H_
