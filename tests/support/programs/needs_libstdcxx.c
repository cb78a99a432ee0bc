/* A library that uses a symbol of libstdc++, whose version ld.so looks for before it loads the library. */
void _ZdlPv(void *memory); /* operator delete */

void use(void *memory) { _ZdlPv(memory); }
