// What a pixel shows: position on the undeformed head, number of the part + 1 (0 is background).
out vec4 place;
void main() {
    if (missing()) discard;
    place = vec4(c, float(KIND) + 1.0);
}
