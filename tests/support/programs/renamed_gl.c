/* A libGL.so.1 that draws as the system's own, to which it is linked, and calls itself a GPU. With -DOBEYS, it calls
 * itself software where LIBGL_ALWAYS_SOFTWARE is set, as Mesa does. */
#include <stdlib.h>

const char *glGetString(unsigned name) {
#ifdef OBEYS
    if (getenv("LIBGL_ALWAYS_SOFTWARE"))
        return "llvmpipe (of a dream)";
#endif
    return "GeForce of a dream";
}
