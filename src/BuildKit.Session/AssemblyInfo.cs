using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("BuildKit.Tests")]
[assembly: InternalsVisibleTo("BuildKit.IntegrationTests")]
