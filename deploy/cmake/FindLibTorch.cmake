# LibTorch as the PyPI wheel ships it, as imported target LibTorch::LibTorch. The wheel's own package
# file insists on CUDA; a CPU build needs two libraries and the headers only, a CUDA build
# (LONGWAVE_CUDA) two more and the CUDA runtime's headers, which lie in a wheel beside it.
#
# Input: LIBTORCH_ROOT, the wheel's torch folder (default: the one in the project's .venv, or in its
# .venv-torch).

if(NOT LIBTORCH_ROOT)
  if(LONGWAVE_CUDA)
    set(_libtorch_venv .venv-torch)
  else()
    set(_libtorch_venv .venv)
  endif()
  file(GLOB _libtorch_candidates
    "${CMAKE_SOURCE_DIR}/${_libtorch_venv}/lib/python3*/site-packages/torch")
  if(_libtorch_candidates)
    list(GET _libtorch_candidates 0 LIBTORCH_ROOT)
  endif()
endif()
find_path(LIBTORCH_INCLUDE_DIR ATen/ATen.h HINTS "${LIBTORCH_ROOT}/include" NO_DEFAULT_PATH)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu HINTS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
find_library(LIBTORCH_C10_LIBRARY c10 HINTS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
set(_libtorch_required LIBTORCH_INCLUDE_DIR LIBTORCH_CPU_LIBRARY LIBTORCH_C10_LIBRARY)
if(LONGWAVE_CUDA)
  set(_libtorch_cuda_root "${LIBTORCH_ROOT}/../nvidia/cu13")
  find_library(LIBTORCH_CUDA_LIBRARY torch_cuda HINTS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
  find_library(LIBTORCH_C10_CUDA_LIBRARY c10_cuda HINTS "${LIBTORCH_ROOT}/lib" NO_DEFAULT_PATH)
  find_path(LIBTORCH_CUDART_INCLUDE_DIR cuda_runtime_api.h
    HINTS "${_libtorch_cuda_root}/include" NO_DEFAULT_PATH)
  find_library(LIBTORCH_CUDART_LIBRARY cudart HINTS "${_libtorch_cuda_root}/lib" NO_DEFAULT_PATH)
  list(APPEND _libtorch_required LIBTORCH_CUDA_LIBRARY LIBTORCH_C10_CUDA_LIBRARY
    LIBTORCH_CUDART_INCLUDE_DIR LIBTORCH_CUDART_LIBRARY)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS ${_libtorch_required}
  REASON_FAILURE_MESSAGE
    "run deploy/setup.sh (for CUDA: --cuda), or set LIBTORCH_ROOT to a torch 2.11 folder")

if(LibTorch_FOUND AND NOT TARGET LibTorch::LibTorch)
  get_filename_component(LIBTORCH_LIBRARY_DIR "${LIBTORCH_CPU_LIBRARY}" DIRECTORY)
  add_library(LibTorch::LibTorch INTERFACE IMPORTED)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
    "${LIBTORCH_INCLUDE_DIR}" "${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include")
  target_link_libraries(LibTorch::LibTorch INTERFACE
    "${LIBTORCH_CPU_LIBRARY}" "${LIBTORCH_C10_LIBRARY}")
  target_compile_definitions(LibTorch::LibTorch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  if(LONGWAVE_CUDA)
    target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
      "${LIBTORCH_CUDART_INCLUDE_DIR}")
    # torch_cuda registers its kernels when it is loaded; nothing of ours names a symbol of it.
    target_link_libraries(LibTorch::LibTorch INTERFACE
      -Wl,--no-as-needed "${LIBTORCH_CUDA_LIBRARY}" "${LIBTORCH_C10_CUDA_LIBRARY}" -Wl,--as-needed
      "${LIBTORCH_CUDART_LIBRARY}")
  endif()
endif()
