# find_headers(PACKAGE root_variable DISPLAY_NAME
#   FILE header_to_look_for  SUFFIXES include ...  SYSTEM /usr ...  FETCHED folder_in_build
#   SCRIPT script_that_fetches_them  VERSION_COMMAND function(directory result_variable)  HINTS line ...)
#
# Find the C++ headers of a runtime, for a find module of the name PACKAGEHeaders. In this order:
#   1. the CMake or environment variable `root_variable`; if it is set, nothing else is searched
#   2. the system: SYSTEM
#   3. build/FETCHED in the source tree, where SCRIPT puts them
# Makes the target PACKAGE::headers; sets PACKAGEHeaders_FOUND, _INCLUDE_DIR and _VERSION.
macro(find_headers package root_variable display_name)
  cmake_parse_arguments(_find "" "FILE;FETCHED;SCRIPT;VERSION_COMMAND" "SUFFIXES;SYSTEM;HINTS" ${ARGN})
  set(_find_name ${package}Headers)
  get_filename_component(_find_fetched "${CMAKE_CURRENT_LIST_DIR}/../../build/${_find_FETCHED}" ABSOLUTE)

  if(NOT ${root_variable} AND NOT "$ENV{${root_variable}}" STREQUAL "")
    # Cached, because a later reconfiguration may have another environment.
    set(${root_variable} "$ENV{${root_variable}}" CACHE PATH "Where ${display_name}'s headers are" FORCE)
  endif()
  if(${root_variable})
    set(_find_places "${${root_variable}}")
  else()
    set(_find_places ${_find_SYSTEM} "${_find_fetched}")
  endif()

  set(${_find_name}_FOUND FALSE)
  set(${_find_name}_INCLUDE_DIR "")
  set(${_find_name}_VERSION "")
  set(_find_too_old "")
  foreach(_find_place IN LISTS _find_places)
    foreach(_find_suffix IN LISTS _find_SUFFIXES)
      set(_find_directory "${_find_place}/${_find_suffix}")
      if(${_find_name}_FOUND OR NOT EXISTS "${_find_directory}/${_find_FILE}")
        continue()
      endif()
      cmake_language(CALL ${_find_VERSION_COMMAND} "${_find_directory}" _find_version)
      if(${_find_name}_FIND_VERSION AND _find_version VERSION_LESS ${_find_name}_FIND_VERSION)
        string(APPEND _find_too_old "\n    (${_find_directory} has version ${_find_version}: too old)")
        continue()
      endif()
      set(${_find_name}_FOUND TRUE)
      set(${_find_name}_INCLUDE_DIR "${_find_directory}")
      set(${_find_name}_VERSION "${_find_version}")
    endforeach()
  endforeach()

  if(${_find_name}_FOUND)
    if(NOT TARGET ${package}::headers)
      message(STATUS "${display_name} headers: ${${_find_name}_INCLUDE_DIR} (${${_find_name}_VERSION})")
      # Imported: the compiler treats them as system headers and does not warn about them. Global, for the
      # tests.
      add_library(${package}::headers INTERFACE IMPORTED GLOBAL)
      set_target_properties(${package}::headers PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${${_find_name}_INCLUDE_DIR}")
    endif()
  else()
    list(JOIN _find_places ", " _find_places)
    list(JOIN _find_SUFFIXES ", " _find_suffixes)
    list(TRANSFORM _find_HINTS PREPEND "\n    - ")
    list(JOIN _find_HINTS "" _find_hints)
    set(_find_message
      "The headers of ${display_name} ${${_find_name}_FIND_VERSION} or newer were not found.\n"
      "  Looked for ${_find_FILE} under ${_find_places} (in ${_find_suffixes}).${_find_too_old}\n"
      "  Any one of these helps:\n"
      "    - run ${_find_SCRIPT}, which puts them into build/${_find_FETCHED}"
      "${_find_hints}")
    list(JOIN _find_message "" _find_message)
    if(${_find_name}_FIND_REQUIRED)
      message(FATAL_ERROR "${_find_message}")
    elseif(NOT ${_find_name}_FIND_QUIETLY)
      message(STATUS "${_find_message}")
    endif()
  endif()
endmacro()
