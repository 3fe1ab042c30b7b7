using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("BuildKit.Tests")]
