# How this project makes targets: warnings, hardening, sanitizers and aliases in one place.

set(LONGWAVE_WARNINGS
    -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
    -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers)
set(LONGWAVE_WARNINGS_CLANG -Wthread-safety)
# Debian's libraries were compiled by GCC 12; from version 18 on Clang spells the symbols of some of
# their templates (absl::Cord's constructor) otherwise.
set(LONGWAVE_ABI_CLANG
    $<$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,18>:-fclang-abi-compat=17>)

# Programs at random addresses, too; without this CMake compiles them so and links them otherwise.
include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX)
# Beside those of the compiler's own: stacks that cannot jump over their guard page, and branches that
# land only where branches may. tests/unit/hardening reads the programs for all of it.
set(LONGWAVE_HARDENING -fstack-protector-strong -fstack-clash-protection)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND LONGWAVE_HARDENING -fcf-protection=full)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  list(APPEND LONGWAVE_HARDENING -mbranch-protection=standard)
endif()

add_library(longwave_flags INTERFACE)
target_include_directories(longwave_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(longwave_flags INTERFACE
  ${LONGWAVE_WARNINGS}
  $<$<CXX_COMPILER_ID:Clang>:${LONGWAVE_WARNINGS_CLANG}>
  $<$<CXX_COMPILER_ID:Clang>:${LONGWAVE_ABI_CLANG}>
  $<$<BOOL:${LONGWAVE_WERROR}>:-Werror>)
if(LONGWAVE_SANITIZE)
  target_compile_options(longwave_flags INTERFACE
    -fsanitize=${LONGWAVE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  if(LONGWAVE_SANITIZE MATCHES "undefined")
    # grpc::Status keeps whatever number a peer sent as a StatusCode: not ours to change.
    target_compile_options(longwave_flags INTERFACE -fno-sanitize=enum)
  endif()
  target_link_options(longwave_flags INTERFACE -fsanitize=${LONGWAVE_SANITIZE})
else()
  target_compile_options(longwave_flags INTERFACE
    ${LONGWAVE_HARDENING} $<$<CONFIG:Release>:-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2>)
  target_link_options(longwave_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
endif()

# longwave_library(<name> SOURCES ... [PUBLIC ...] [PRIVATE ...]): static library longwave_<name>
# with alias longwave::<name>.
function(longwave_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(longwave_${name} STATIC ${ARG_SOURCES})
  add_library(longwave::${name} ALIAS longwave_${name})
  target_link_libraries(longwave_${name}
    PUBLIC longwave_flags ${ARG_PUBLIC}
    PRIVATE ${ARG_PRIVATE})
endfunction()

# longwave_test(<name> SOURCES ... LIBRARIES ... [LABELS ...]): a GoogleTest program, one ctest entry.
function(longwave_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
