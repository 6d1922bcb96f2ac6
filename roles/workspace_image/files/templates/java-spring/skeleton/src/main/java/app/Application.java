package app;

import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

@SpringBootApplication
@RestController
public class Application {

  public static void main(String[] arguments) {
    SpringApplication.run(Application.class, arguments);
  }

  @GetMapping("/")
  String index() {
    return "<!doctype html><html lang=\"en\"><title>Hello from Spring</title><h1>Hello from Spring</h1>";
  }

  @GetMapping("/api/greeting")
  Map<String, String> greeting() {
    return Map.of("greeting", "Hello from Spring");
  }
}
