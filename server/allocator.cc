// How jemalloc, the allocator of the server's programs, is set up: it reads this string before
// main. glibc's keeps what each of its arenas once needed for ever, even when it is told to trim:
// a few floods of connections left 1.8 GB in a process that used 1 MB.
//
// background_thread: memory goes back also where no thread allocates any more.
// dirty_decay_ms: what is free goes back within this time, so that what the next slice needs again
// is not given back and taken again.
// muzzy_decay_ms: and at once for good. Pages that the system may take, but has not yet, would
// still count as resident, and so against a container's limit.
extern "C" const char* malloc_conf;
const char* malloc_conf =
    "background_thread:true,max_background_threads:1,dirty_decay_ms:3000,muzzy_decay_ms:0";
