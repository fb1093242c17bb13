# The installed tree: bin/, lib/ and share/longwave/, movable as a whole. Each program is installed
# where its target is made; here is what they share. Debian's libraries (gRPC, protobuf, Abseil,
# prometheus-cpp) are not part of it: they come from the system.

# longwave_install_programs_run_path(): call before any target is made.
macro(longwave_install_programs_run_path)
  set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endmacro()

# LibTorch and what it needs from the Python environment, as component runtime-torch. Which files
# those are is asked of the libraries themselves at install time, so that a CUDA build brings its own.
function(longwave_install_runtime_torch)
  get_filename_component(torch_lib "${LIBTORCH_CPU_LIBRARY}/.." REALPATH)
  get_filename_component(site_packages "${torch_lib}/../.." REALPATH)
  set(libraries "${torch_lib}/libtorch_cpu.so")
  if(LONGWAVE_CUDA)
    list(APPEND libraries "${torch_lib}/libtorch_cuda.so")
  endif()
  install(CODE "
    set(site_packages \"${site_packages}\")
    set(libraries \"${libraries}\")
    set(destination \"${CMAKE_INSTALL_LIBDIR}\")
  " COMPONENT runtime-torch)
  install(CODE [[
    file(GET_RUNTIME_DEPENDENCIES
      LIBRARIES ${libraries}
      RESOLVED_DEPENDENCIES_VAR resolved
      UNRESOLVED_DEPENDENCIES_VAR unresolved)
    if(unresolved)
      message(FATAL_ERROR "LibTorch needs libraries that are not there: ${unresolved}")
    endif()
    foreach(library IN LISTS libraries resolved)
      get_filename_component(real "${library}" REALPATH)
      string(FIND "${real}" "${site_packages}/" position)
      if(position EQUAL 0)
        get_filename_component(name "${library}" NAME)
        file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/${destination}" TYPE PROGRAM
          FILES "${real}" RENAME "${name}")
      endif()
    endforeach()
  ]] COMPONENT runtime-torch)
endfunction()
