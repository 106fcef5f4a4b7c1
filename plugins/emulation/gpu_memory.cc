#include "gpu_memory.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace mbert::cuda {
namespace {

std::string size(std::size_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

void GlobalMemory::add(std::string name, const void* data, std::size_t bytes, Access access) {
  buffers_.push_back({std::move(name), reinterpret_cast<std::uintptr_t>(data), bytes, access,
                      std::vector<std::uint8_t>(access == Access::kWrite ? bytes : 0)});
}

void GlobalMemory::begin_launch() { ++launch_; }

const GlobalMemory::Buffer& GlobalMemory::find(const void* pointer, std::size_t bytes) const {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  for (const Buffer& buffer : buffers_) {
    if (address < buffer.begin || address + bytes > buffer.begin + buffer.bytes) continue;
    if (address % bytes == 0) return buffer;
    throw std::runtime_error(size(bytes) + " at " + buffer.name + " + " +
                             std::to_string(address - buffer.begin) +
                             " are not aligned to their size");
  }
  std::string known;
  for (const Buffer& buffer : buffers_) {
    const auto distance = static_cast<std::int64_t>(address - buffer.begin);
    known += (known.empty() ? "" : ", ") + buffer.name + " + " + std::to_string(distance) +
             " (it has " + size(buffer.bytes) + ")";
  }
  throw std::runtime_error(size(bytes) + " in no buffer: at " + known);
}

void GlobalMemory::check_read(const void* pointer, std::size_t bytes) const {
  const Buffer& buffer = find(pointer, bytes);
  if (buffer.access != Access::kWrite) return;
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(pointer) - buffer.begin;
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    if (buffer.written[i] != 0 && buffer.written[i] != launch_) continue;
    throw std::runtime_error("byte " + std::to_string(i) + " of " + buffer.name +
                             " was not written by an earlier launch");
  }
}

void GlobalMemory::check_write(const void* pointer, std::size_t bytes) {
  auto& buffer = const_cast<Buffer&>(find(pointer, bytes));
  if (buffer.access == Access::kRead) {
    throw std::runtime_error(buffer.name + " may only be read");
  }
  if (buffer.access == Access::kReadWrite) return;
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(pointer) - buffer.begin;
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    if (buffer.written[i] == launch_) {
      throw std::runtime_error("byte " + std::to_string(i) + " of " + buffer.name +
                               " is written a second time");
    }
    buffer.written[i] = launch_;
  }
}

void GlobalMemory::check_written(const std::string& name) const {
  for (const Buffer& buffer : buffers_) {
    if (buffer.name != name) continue;
    const auto found = std::find(buffer.written.begin(), buffer.written.end(), 0);
    if (found == buffer.written.end()) continue;
    throw std::runtime_error("byte " + std::to_string(found - buffer.written.begin()) + " of " +
                             buffer.name + " was never written");
  }
}

void SharedMemory::reset() {
  std::fill(words_.begin(), words_.end(), Word{});
  epoch_ = 1;
}

SharedMemory::Word* SharedMemory::words(std::uint32_t offset, std::size_t bytes) {
  if (offset % bytes != 0) {
    throw std::runtime_error(size(bytes) + " of shared memory at " + std::to_string(offset) +
                             " are not aligned to their size");
  }
  if (offset + bytes > bytes_) {
    throw std::runtime_error(size(bytes) + " of shared memory at " + std::to_string(offset) +
                             ", of which the block has " + std::to_string(bytes_));
  }
  return &words_[offset / kWordBytes];
}

void SharedMemory::race(std::uint32_t offset, const char* verb, const Touch& other) const {
  const std::string who = other.thread == kWarp ? "a warp or several threads"
                                                : "thread " + std::to_string(other.thread);
  throw std::runtime_error("data race: the word of shared memory at " + std::to_string(offset) +
                           " was " + verb + " by " + who + " in line " +
                           std::to_string(other.line) + ", with no barrier since");
}

void SharedMemory::read(std::uint32_t offset, std::size_t bytes, int thread, int line, void* to) {
  Word* word = words(offset, bytes);
  for (std::size_t i = 0; i < bytes; i += kWordBytes, ++word) {
    const auto at = static_cast<std::uint32_t>(offset + i);
    if (word->write.epoch == 0) {
      throw std::runtime_error("the word of shared memory at " + std::to_string(at) +
                               " was never written");
    }
    if (word->in_copy) {
      throw std::runtime_error("the word of shared memory at " + std::to_string(at) +
                               " is the destination of a copy that thread " +
                               std::to_string(word->write.thread) + " began in line " +
                               std::to_string(word->write.line) + " and has not waited for");
    }
    if (word->write.epoch == epoch_ && (thread == kWarp || word->write.thread != thread)) {
      race(at, "written", word->write);
    }
    const bool shared = word->read.epoch == epoch_ && word->read.thread != thread;
    word->read = {epoch_, static_cast<std::int16_t>(shared ? kWarp : thread),
                  static_cast<std::uint16_t>(line)};
    std::memcpy(static_cast<std::byte*>(to) + i, &word->value, kWordBytes);
  }
}

// Registers a write of the word; throws if it races with another access.
void SharedMemory::claim(Word& word, std::uint32_t offset, int thread, int line) {
  if (word.write.epoch == epoch_ && word.write.thread != thread)
    race(offset, "written", word.write);
  if (word.read.epoch == epoch_ && word.read.thread != thread) race(offset, "read", word.read);
  word.write = {epoch_, static_cast<std::int16_t>(thread), static_cast<std::uint16_t>(line)};
}

void SharedMemory::write(std::uint32_t offset, std::size_t bytes, int thread, int line,
                         const void* from) {
  Word* word = words(offset, bytes);
  for (std::size_t i = 0; i < bytes; i += kWordBytes, ++word) {
    const auto at = static_cast<std::uint32_t>(offset + i);
    if (word->in_copy) {
      throw std::runtime_error("the word of shared memory at " + std::to_string(at) +
                               " is the destination of a copy that has not landed");
    }
    claim(*word, at, thread, line);
    std::memcpy(&word->value, static_cast<const std::byte*>(from) + i, kWordBytes);
  }
}

void SharedMemory::begin_copy(std::uint32_t offset, std::size_t bytes, int thread, int line) {
  Word* word = words(offset, bytes);
  for (std::size_t i = 0; i < bytes; i += kWordBytes, ++word) {
    const auto at = static_cast<std::uint32_t>(offset + i);
    if (word->in_copy) {
      throw std::runtime_error("the word of shared memory at " + std::to_string(at) +
                               " is the destination of another copy that has not landed");
    }
    claim(*word, at, thread, line);
    word->in_copy = true;
  }
}

void SharedMemory::land_copy(std::uint32_t offset, std::size_t bytes, int thread, int line,
                             const void* from) {
  Word* word = words(offset, bytes);
  for (std::size_t i = 0; i < bytes; i += kWordBytes, ++word) {
    word->in_copy = false;
    claim(*word, static_cast<std::uint32_t>(offset + i), thread, line);
    std::memcpy(&word->value, static_cast<const std::byte*>(from) + i, kWordBytes);
  }
}

}  // namespace mbert::cuda
