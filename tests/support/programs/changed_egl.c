/* A libEGL.so.1 that does what the system's own does, to which it is linked, but for what comes from gcc's command
 * line: the statements -DIN_INITIALIZE=..., which see the number of the platform, and -DRENDERER=..., a string. With
 * -DDRAWS_NOTHING, nothing is cleared. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef IN_INITIALIZE
#define IN_INITIALIZE
#endif

enum { DEVICE = 0x313F, SURFACELESS = 0x31DD };

static int platform;
static void *(*get_display)(int, void *, void *);

static void *note_platform(int asked, void *native, void *attributes) {
    platform = asked;
    return get_display(asked, native, attributes);
}

#ifdef RENDERER
static const char *(*get_string)(unsigned);

static const char *get_renderer(unsigned name) { return name == 0x1F01 ? RENDERER : get_string(name); }
#endif

#ifdef DRAWS_NOTHING
static void clear(unsigned mask) {}
#endif

int eglInitialize(void *display, int *major, int *minor) {
    int (*initialize)(void *, int *, int *) = dlsym(RTLD_NEXT, "eglInitialize");
    IN_INITIALIZE;
    return initialize(display, major, minor);
}

void *eglGetProcAddress(const char *name) {
    void *(*find)(const char *) = dlsym(RTLD_NEXT, "eglGetProcAddress");
    void *found = find(name);
    if (strcmp(name, "eglGetPlatformDisplayEXT") == 0) {
        get_display = found;
        return note_platform;
    }
#ifdef RENDERER
    if (strcmp(name, "glGetString") == 0) {
        get_string = found;
        return get_renderer;
    }
#endif
#ifdef DRAWS_NOTHING
    if (strcmp(name, "glClear") == 0)
        return clear;
#endif
    return found;
}
