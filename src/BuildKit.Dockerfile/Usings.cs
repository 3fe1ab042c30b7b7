global using Platform = BuildKit.Oci.Platform;
global using SourceRange = BuildKit.Dockerfile.Parsing.SourceRange;
