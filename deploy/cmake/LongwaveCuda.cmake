# The CUDA compiler and libraries as the PyPI wheels ship them, beside LibTorch in one site-packages;
# included by CUDA builds only. Before it the compiler is unknown, so nothing here may be a find
# module of CMake's that compiles.
#
# Input: LONGWAVE_CUDA_ROOT, a CUDA 13 folder (default: the one in the project's .venv-torch).

if(NOT LONGWAVE_CUDA_ROOT)
  # By the compiler: the libraries are there with PyTorch alone.
  file(GLOB _cuda_candidates
    "${CMAKE_SOURCE_DIR}/.venv-torch/lib/python3*/site-packages/nvidia/cu13/bin/nvcc")
  if(NOT _cuda_candidates)
    message(FATAL_ERROR
      "LONGWAVE_CUDA is ON and there is no CUDA: run deploy/setup.sh --cuda, or set LONGWAVE_CUDA_ROOT")
  endif()
  list(GET _cuda_candidates 0 _nvcc)
  cmake_path(GET _nvcc PARENT_PATH LONGWAVE_CUDA_ROOT)
  cmake_path(GET LONGWAVE_CUDA_ROOT PARENT_PATH LONGWAVE_CUDA_ROOT)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_COMPILER "${LONGWAVE_CUDA_ROOT}/bin/nvcc")
endif()
if(CCACHE_PROGRAM AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
# The runtime that LibTorch uses too: two of them in one process would be two sets of streams.
set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)
enable_language(CUDA)

# longwave_cuda_library(<target> <name>): imported target longwave::<target> of lib<name>.so.
function(longwave_cuda_library target name)
  find_library(LONGWAVE_${name}_LIBRARY ${name}
    HINTS "${LONGWAVE_CUDA_ROOT}/lib" NO_DEFAULT_PATH REQUIRED)
  add_library(longwave::${target} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(longwave::${target} INTERFACE "${LONGWAVE_${name}_LIBRARY}")
  target_include_directories(longwave::${target} SYSTEM INTERFACE "${LONGWAVE_CUDA_ROOT}/include")
endfunction()
longwave_cuda_library(cudart cudart)
longwave_cuda_library(cufft cufft)
longwave_cuda_library(cublaslt cublasLt)
